//! What is wrong with a graph is told with its place.

use argand_graph::Builder;

#[test]
fn slices_hold_values_and_errors_name_the_page() {
    for (from, len) in [(0, 0), (3, 2), (4, 1)] {
        let g = Builder::new("sliced");
        let output = g.embed("token_embd", 8, 4).slice(from, len).value();
        let error = g.finish(output).err().unwrap_or_else(|| panic!("{len} values from {from} on of 4"));
        assert!(error.file.ends_with("mistakes.rs"), "{error}");
    }
    let g = Builder::new("whole");
    let output = g.embed("token_embd", 8, 4).slice(3, 1).value();
    assert!(g.finish(output).is_ok());
}
