//! Files of PyTorch, NumPy and ONNX, made by these (`parity/checkpoints.py`): every tensor agrees with its twin in safetensors.

mod common;

use std::path::{Path, PathBuf};

use argand_weights::{Checkpoint, Format, pytorch};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

/// Names, shapes, types and bytes of all tensors, sorted.
fn tensors(checkpoint: &Checkpoint) -> Vec<(String, Vec<usize>, &'static str, Vec<u8>)> {
    let weights = checkpoint.tensors().map(|info| {
        let bytes = checkpoint.require(&info.name).unwrap().bytes.to_vec();
        (info.name.clone(), info.shape.clone(), info.codec.name(), bytes)
    });
    let foreign = checkpoint.foreign_tensors().iter().map(|one| {
        let bytes = checkpoint.foreign_bytes(&one.name).unwrap().to_vec();
        (one.name.clone(), one.shape.clone(), one.dtype, bytes)
    });
    let mut all: Vec<_> = weights.chain(foreign).collect();
    all.sort();
    all
}

fn agree(path: &str, twin: &str) -> Checkpoint {
    let checkpoint = Checkpoint::open(fixture(path)).unwrap();
    let twin = Checkpoint::open(fixture(&format!("{twin}.safetensors"))).unwrap();
    let (found, expected) = (tensors(&checkpoint), tensors(&twin));
    let names = |all: &[(String, Vec<usize>, &str, Vec<u8>)]| all.iter().map(|one| one.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "{path}");
    for (one, other) in found.iter().zip(&expected) {
        assert_eq!(one, other, "{path}");
    }
    common::read_everything(&checkpoint);
    checkpoint
}

#[test]
fn what_torch_saves_is_read() {
    let names = ["dtypes", "views", "deflated_views", "legacy", "module_state", "legacy_module_state"];
    let more = ["protocol_3", "protocol_4", "protocol_5", "parameters", "nested", "training", "without_sums"];
    for name in names.into_iter().chain(more) {
        let checkpoint = agree(&format!("{name}.pt"), name);
        assert_eq!(checkpoint.format(), Format::PyTorch);
        assert_eq!(checkpoint.files().len(), 1);
    }
}

/// Its integers that are written one by one, and its texts, are left out.
#[test]
fn what_onnx_saves_is_read() {
    let checkpoint = agree("initializers.onnx", "initializers");
    assert_eq!(checkpoint.format(), Format::Onnx);
    // Without its name, too.
    let bytes = std::fs::read(fixture("initializers.onnx")).unwrap();
    assert_eq!(Checkpoint::from_bytes("model", bytes).unwrap().format(), Format::Onnx);
}

#[test]
fn what_numpy_saves_is_read() {
    let files = ["stored.npz", "deflated.npz", "version_1.npy", "version_2.npy", "version_3.npy"];
    for file in files {
        let checkpoint = agree(file, file.split_once('.').unwrap().0);
        assert_eq!(checkpoint.format(), Format::NumPy);
    }
}

#[test]
fn the_place_of_the_state_dict_is_told() {
    let place = |file: &str| {
        let checkpoint = Checkpoint::open(fixture(file)).unwrap();
        checkpoint.metadata().get_str(pytorch::STATE_DICT_KEY).map(str::to_owned)
    };
    assert_eq!(place("training.pt").as_deref(), Some("model.state_dict"));
    assert_eq!(place("module_state.pt"), None);
}

#[test]
fn views_without_gaps_lie_in_the_file() {
    let path = fixture("views.pt");
    let file = std::fs::read(&path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let offset = |name: &str| {
        let view = checkpoint.require(name).unwrap();
        let inside = file.get(view.info.offset()..view.info.offset() + view.bytes.len());
        (inside == Some(view.bytes)).then_some(view.info.offset())
    };
    let whole = offset("whole").expect("the whole storage is in the file");
    assert_eq!(offset("tied"), Some(whole), "tied tensors share their bytes");
    assert_eq!(offset("rows"), Some(whole + 2 * 8 * 4));
    assert_eq!(offset("row"), Some(whole + 4 * 8 * 4));
    assert_eq!(offset("number"), Some(whole + (5 * 8 + 7) * 4));
}

#[test]
fn any_path_of_a_sharded_model_opens_all_of_it() {
    let shard = "sharded/pytorch_model-00002-of-00002.bin";
    for path in ["sharded", "sharded/pytorch_model.bin.index.json", shard] {
        let checkpoint = agree(path, "sharded");
        assert_eq!(checkpoint.files().len(), 2);
        assert_eq!(checkpoint.config().unwrap()["model_type"], "tiny");
    }
}

#[test]
fn a_folder_takes_safetensors_before_pytorch_and_leaves_out_what_training_left() {
    let folder = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| assert!(std::fs::copy(fixture(from), folder.path().join(to)).unwrap() > 0);
    let format = || Checkpoint::open(folder.path()).map(|checkpoint| checkpoint.format());
    put("module_state.pt", "optimizer.pt");
    put("module_state.pt", "training_args.bin");
    assert!(format().unwrap_err().to_string().contains("a folder without a model"));
    put("stored.npz", "weights.npz");
    assert_eq!(format().unwrap(), Format::NumPy);
    put("module_state.pt", "weights.pth");
    assert_eq!(format().unwrap(), Format::PyTorch);
    put("module_state.pt", "other.pt");
    assert!(format().unwrap_err().to_string().contains("a folder of 2 models, other.pt and weights.pth among them"));
    put("module_state.pt", "pytorch_model.bin");
    assert_eq!(format().unwrap(), Format::PyTorch);
    put("module_state.safetensors", "model.safetensors");
    assert_eq!(format().unwrap(), Format::Safetensors);
}
