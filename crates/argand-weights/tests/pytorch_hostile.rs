//! Every known way to make a pickle or its archive do harm, as small proofs of concept of our own: each is refused with an
//! error that names the file and what is wrong, and nothing is run.

mod common;

use argand_weights::Checkpoint;
use common::pickle::{
    FLOATS, Member, dict, global, int, legacy, storage, tensor, tensor_of, text, torch, tuple, valid, valid_legacy,
    whole, zip,
};
use common::refusal;

/// What refuses a pickle, in both formats of files.
fn refuse(pickle: &[u8], expected: &str) {
    for bytes in [torch(pickle, &FLOATS), legacy(pickle, &["0"], &[&4u64.to_le_bytes()[..], &FLOATS].concat())] {
        let message = refusal(bytes);
        assert!(message.contains(expected), "{message}\nshould contain {expected}");
    }
}

fn refuse_value(value: &[u8], expected: &str) {
    refuse(&whole(value), expected);
}

/// A file whose marker would appear if the command ran.
fn command(folder: &tempfile::TempDir) -> String {
    format!("touch {}", folder.path().join("ran").display())
}

#[test]
fn what_the_helpers_spell_is_valid() {
    for bytes in [torch(&valid(), &FLOATS), valid_legacy()] {
        let checkpoint = Checkpoint::from_bytes("valid", bytes).unwrap();
        assert_eq!(checkpoint.require("w").unwrap().bytes, FLOATS);
    }
}

#[test]
fn no_global_but_those_of_weights_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let argument = tuple(&[text(&command(&folder))]);
    let globals = [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("__builtin__", "apply"),
        ("subprocess", "Popen"),
        ("runpy", "_run_code"),
        ("pip", "main"),
        ("importlib", "import_module"),
        ("operator", "attrgetter"),
        ("functools", "partial"),
        ("types", "CodeType"),
        ("pickle", "loads"),
        ("_pickle", "loads"),
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("webbrowser", "open"),
        ("numpy.testing._private.utils", "runstring"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.jit", "load"),
        ("torch", "FloatStorage.from_file"),
        ("torch", "ImaginaryStorage"),
        ("torch._utils", "_rebuild_qtensor"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.utils.data.datapipes", "eval"),
        ("__main__", "Model"),
        ("__torch__", "Model"),
        ("collections", "OrderedDict.__init__"),
        ("collections.OrderedDict", "__class__"),
        ("", ""),
    ];
    for (module, name) in globals {
        let expected = format!("found the global \"{module}.{name}\", which is not among those that weights need");
        // REDUCE, NEWOBJ, INST and the bare name; with the name in the pickle and put together on the stack.
        let plain = global(module, name);
        let stacked = [text(module), text(name), vec![0x93]].concat();
        for spelled in [plain.clone(), stacked] {
            refuse_value(&[&spelled[..], &argument, b"R"].concat(), &expected);
            refuse_value(&[&spelled[..], &argument, b"\x81"].concat(), &expected);
            refuse_value(&spelled, &expected);
            // Hidden among weights, and after them.
            refuse_value(&dict(&[("w", tensor(4, 0, &[4], &[1])), ("x", spelled.clone())]), &expected);
        }
        refuse_value(&[&b"("[..], &text("x"), b"i", &plain[1..]].concat(), &expected);
    }
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn names_from_the_memo_are_looked_up_like_others() {
    // The module's name is put into the memo, overwritten, and fetched again.
    let value =
        [text("collections"), b"q\x000".to_vec(), text("os"), b"q\x000h\x00".to_vec(), text("system"), vec![0x93]];
    refuse_value(&value.concat(), "found the global \"os.system\"");
    refuse_value(
        &[&int(1)[..], &int(2), b"\x93"].concat(),
        "found a number and a number, expected the texts of a module",
    );
    let dotted = [text("collections"), text("OrderedDict\nos.system"), vec![0x93]].concat();
    refuse_value(&dotted, "\"collections.OrderedDict\\nos.system\"");
}

#[test]
fn objects_are_never_made() {
    let ordered = global("collections", "OrderedDict");
    refuse_value(&[b"(", &ordered[..], b"o"].concat(), "an object made by OBJ is not supported");
    refuse_value(&[b"(i", &ordered[1..]].concat(), "an object made by INST is not supported");
    refuse_value(&[&ordered[..], b")}\x92"].concat(), "an object made by NEWOBJ_EX is not supported");
    // A state for a class or a function would replace its attributes.
    let state = dict(&[("__setstate__", global("collections", "OrderedDict"))]);
    refuse_value(&[&ordered[..], &state, b"b"].concat(), "found a state for a class or function");
    refuse_value(&[&storage("0", 4)[..], &state, b"b"].concat(), "found a state for a storage");
    refuse_value(&[&global("torch", "FloatStorage")[..], b")R"].concat(), "found a call of a type");
    refuse_value(&[&text("os.system")[..], b")R"].concat(), "found a text, expected a class or function to call");
    refuse_value(&[&ordered[..], &text("x"), b"R"].concat(), "found a text, expected a tuple of arguments");
    // Attributes of a dictionary are dropped, whatever they are called.
    let state = dict(&[("__setstate__", int(1)), ("__class__", int(2))]);
    let value = [dict(&[("w", tensor(4, 0, &[4], &[1]))]), state, b"b".to_vec()].concat();
    assert!(Checkpoint::from_bytes("m", torch(&whole(&value), &FLOATS)).is_ok());
}

#[test]
fn what_lies_outside_the_pickle_is_not_fetched() {
    for extension in [&b"\x82\x01"[..], b"\x83\x01\x02", b"\x84\x01\x02\x03\x04"] {
        refuse_value(extension, "the registry of extensions (EXT) is not supported");
    }
    refuse_value(b"\x97", "a buffer outside of the pickle is not supported");
    refuse_value(b"N\x98", "a buffer outside of the pickle is not supported");
    refuse_value(b"Pos.system\n", "opcode 'P' of pickle protocol 0 is not supported");
    refuse_value(&[&text("key")[..], b"Q"].concat(), "found a text, expected (\"storage\"");
    let module = tuple(&[text("module"), global("torch", "FloatStorage"), text("a"), text("b"), int(1)]);
    refuse_value(&[&module[..], b"Q"].concat(), "expected (\"storage\"");
    for key in ["../0", "a/b", "", "..", "0\\1", "0\0"] {
        refuse_value(&storage(key, 4), "the key of a storage");
    }
}

#[test]
fn opcodes_that_are_none_and_stacks_that_are_empty_are_refused() {
    refuse(&[0x80, 1, b'.'], "pickle protocol 1 is not supported");
    refuse(&[0x80, 6, b'.'], "pickle protocol 6 is not supported");
    refuse_value(b"\xff", "found the byte 0xff, expected an opcode");
    let cases: [(&[u8], &str); 18] = [
        (b"", "found an empty stack"),
        (b"0", "found an empty stack"),
        (b"2", "found an empty stack"),
        (b"R", "found an empty stack"),
        (b"NR", "found an empty stack"),
        (b"(R", "found an empty stack"),
        (b"N(b", "found an empty stack"),
        (b"1", "found no mark"),
        (b"t", "found no mark"),
        (b"u", "found no mark"),
        (b"\x85", "found too few values"),
        (b"N(\x85", "found too few values"),
        (b"}(Nu", "found a key without a value"),
        (b"N(NNu", "found None, expected a dictionary"),
        (b"NNa", "found None, expected a list"),
        (b"q\x00", "found an empty stack"),
        (b"h\x07", "found memo 7, never written"),
        (b"NN", "found values left over"),
    ];
    for (value, expected) in cases {
        refuse_value(value, expected);
    }
    let unfinished = refusal(torch(&[0x80, 2, b'N'], &FLOATS));
    assert!(unfinished.contains("needs 1 bytes, but only 0 are left"), "{unfinished}");
}

#[test]
fn lengths_that_lie_take_no_memory() {
    let huge = u64::MAX.to_le_bytes();
    let cases: [(Vec<u8>, &str); 9] = [
        ([&b"\x8d"[..], &huge].concat(), "a text: needs 18446744073709551615 bytes"),
        ([&b"\x8e"[..], &huge].concat(), "bytes: needs 18446744073709551615 bytes"),
        ([&b"\x96"[..], &huge].concat(), "bytes: needs"),
        ([&b"\x95"[..], &huge].concat(), "a frame: needs"),
        (b"X\xff\xff\xff\xff".to_vec(), "a text: needs 4294967295 bytes"),
        (b"B\xff\xff\xff\x7f".to_vec(), "bytes: needs 2147483647 bytes"),
        (b"\x8b\xff\xff\xff\x7f".to_vec(), "an integer: needs 2147483647 bytes"),
        (b"\x8b\xff\xff\xff\xff".to_vec(), "an integer: needs 4294967295 bytes"),
        (b"cos".to_vec(), "a line: needs"),
    ];
    for (value, expected) in cases {
        refuse(&[b"\x80\x04", value.as_slice()].concat(), expected);
    }
}

#[test]
fn memo_indexes_far_away_take_no_memory() {
    let weights = dict(&[("w", tensor(4, 0, &[4], &[1]))]);
    let puts: Vec<u8> = (0..2000u32).flat_map(|i| [&b"r"[..], &(u32::MAX - i).to_le_bytes()].concat()).collect();
    assert!(Checkpoint::from_bytes("m", torch(&whole(&[weights, puts].concat()), &FLOATS)).is_ok());
}

#[test]
fn structures_that_repeat_themselves_are_not_written_out() {
    // Each tuple or dictionary holds the one before twice: 2^60 members in all.
    let tuples = [text("lol"), b"2\x86".to_vec(), b"2\x86".repeat(60)].concat();
    let weight = || tensor(4, 0, &[4], &[1]);
    let value = dict(&[("a", tuples), ("w", weight())]);
    refuse_value(&value, "found more dictionaries, expected at most 32 inside each other");
    let mut level = dict(&[("w", weight())]);
    for _ in 0..25 {
        level = [&b"}("[..], &text("a"), &level, b"q\x00", &text("b"), b"h\x00u"].concat();
    }
    refuse_value(&level, "found values that repeat each other");
    // A list and a dictionary that hold themselves.
    refuse_value(&dict(&[("w", weight()), ("l", b"]q\x00h\x00a".to_vec())]), "inside each other");
    refuse_value(&[&b"}q\x00("[..], &text("w"), &weight(), &text("x"), b"h\x00u"].concat(), "inside each other");
    // The same long list, made into a dictionary again and again.
    let pairs = [&b"]("[..], &[&text("a")[..], b"N\x86"].concat().repeat(5000), b"eq\x000"].concat();
    let again = [&global("collections", "OrderedDict")[..], b"h\x00\x85R0"].concat().repeat(2000);
    refuse_value(&[pairs, again].concat(), "a list that is copied again and again");
}

#[test]
fn nesting_of_any_depth_ends() {
    for deep in
        [b"]".repeat(1_000_000), b"(".repeat(1_000_000), [b"]".repeat(1_000_000), b"a".repeat(999_999)].concat()]
    {
        refuse_value(&deep, "");
    }
}

#[test]
fn tensors_stay_inside_their_storages() {
    let state = |value: Vec<u8>| dict(&[("w", value)]);
    let cases = [
        (tensor(4, 0, &[5], &[1]), "tensor \"w\": found a view of storage \"0\": shape [5], strides [1]"),
        (tensor(4, 1, &[4], &[1]), "a view inside its storage of 16 bytes"),
        (tensor(4, 0, &[2, 2], &[4, 1]), "a view inside its storage"),
        (tensor(5, 0, &[5], &[1]), "found storage \"0\" of 5 elements from 0, expected a storage inside its 16 bytes"),
        (tensor(u64::MAX >> 1, 0, &[4], &[1]), "a storage inside its 16 bytes"),
        (tensor(4, u64::MAX >> 1, &[2], &[1]), "a view inside"),
        (tensor(4, 0, &[1 << 40, 1 << 40], &[0, 0]), "a view inside"),
        (tensor(4, 0, &[1 << 20, 1 << 20], &[0, 0]), "times the file's size in tensors that repeat"),
        (tensor(4, 0, &[2, 2], &[u64::MAX >> 1, 1]), "a view inside"),
        (tensor(4, u64::MAX, &[4], &[1]), "found -1, expected a size that is not negative"),
        (tensor(4, 0, &[4], &[u64::MAX]), "found -1, expected a size that is not negative"),
        (tensor(4, 0, &[4], &[1, 1]), "found 2 strides for 1 dimensions"),
        (tensor(4, 0, &[1; 9], &[1; 9]), "found 9 dimensions, expected at most 8"),
    ];
    for (value, expected) in cases {
        refuse_value(&state(value), expected);
    }
    let message = refusal(torch(&whole(&state(tensor_of(storage("7", 4), 0, &[4], &[1]))), &FLOATS));
    assert!(message.contains("storage \"7\": found no zip member, expected \"m/data/7\""), "{message}");
    refuse_value(&state(tensor_of(int(3), 0, &[4], &[1])), "found a number, expected a storage");
    // A storage that is the same for another, wider type.
    let wide = tuple(&[text("storage"), global("torch", "DoubleStorage"), text("0"), text("cpu"), int(4)]);
    let both =
        dict(&[("a", tensor(4, 0, &[4], &[1])), ("w", tensor_of([wide, b"Q".to_vec()].concat(), 0, &[4], &[1]))]);
    let message = refusal(torch(&whole(&both), &FLOATS));
    assert!(message.contains("tensor \"w\": found storage \"0\" of 4 elements"), "{message}");
}

#[test]
fn state_dicts_without_weights_and_with_odd_names_are_refused() {
    refuse_value(b"}", "found a dictionary without tensors");
    refuse_value(b"N", "found None without tensors");
    refuse_value(&tensor(4, 0, &[4], &[1]), "found a tensor without tensors");
    refuse_value(&dict(&[("", tensor(4, 0, &[4], &[1]))]), "name of a tensor");
    refuse_value(&dict(&[("a\0", tensor(4, 0, &[4], &[1]))]), "name of a tensor");
    let twice = dict(&[("w", tensor(4, 0, &[4], &[1])), ("w", tensor(4, 0, &[2], &[1]))]);
    refuse_value(&twice, "tensor \"w\": found a second one");
    let array = [global("numpy.core.multiarray", "_reconstruct"), b")R".to_vec()].concat();
    refuse_value(&dict(&[("w", tensor(4, 0, &[4], &[1])), ("x", array)]), "tensor \"x\": an array of NumPy");
}

fn members(pickle: &[u8]) -> Vec<Member> {
    vec![Member::new("m/data.pkl", pickle), Member::new("m/data/0", &FLOATS)]
}

fn refuse_zip(change: impl FnOnce(&mut Vec<Member>), expected: &str) {
    let mut members = members(&valid());
    change(&mut members);
    let message = refusal(zip(&members));
    assert!(message.contains(expected), "{message}\nshould contain {expected}");
}

#[test]
fn archives_that_lie_are_refused() {
    assert!(Checkpoint::from_bytes("m", zip(&members(&valid()))).is_ok());
    let evil = whole(&global("os", "system"));
    refuse_zip(|all| all.push(Member::new("m/data.pkl", &evil)), "members of the same name");
    refuse_zip(|all| all.push(Member::new("m/data/0", &[0; 16])), "members of the same name");
    refuse_zip(|all| all.push(Member::new("n/data.pkl", &evil)), "found 2 pickles, expected one data.pkl");
    refuse_zip(|all| all.push(Member::new("data.pkl", &evil)), "found 2 pickles");
    // A pickle further down, or reached by a path that leads out, is no pickle of torch.
    for name in ["m/n/data.pkl", "../../data.pkl", "/m/data.pkl", "m\\data.pkl"] {
        refuse_zip(|all| all[0].name = name.into(), "found other members, expected data.pkl of PyTorch");
    }
    for name in ["m/data/../data/0", "m/DATA/0", "../m/data/0", "m/data/0/"] {
        refuse_zip(|all| all[1].name = name.into(), "storage \"0\": found no zip member");
    }
    refuse_zip(|all| all[0].crc ^= 1, "zip member \"m/data.pkl\"");
    refuse_zip(|all| all[0].flags = 1, "encryption is not supported");
    refuse_zip(|all| all[1].method = 12, "compression ");
    refuse_zip(|all| all[1].sizes = [16, 12], "");
    refuse_zip(|all| all[1].sizes = [1 << 40; 2], "zip member \"m/data/0\": needs 1099511627776 bytes");
    refuse_zip(|all| all[1].sizes = [u64::MAX; 2], "");
    refuse_zip(|all| all[0].sizes = [u64::MAX, 10], "");
    refuse_zip(|all| all[1].offset = Some(0), "its data begins at byte");
    refuse_zip(|all| all[1].offset = Some(u64::MAX - 8), "");
    refuse_zip(|all| all[1].sizes = [12; 2], "expected a storage inside its 12 bytes");
    refuse_zip(|all| all[0].name = vec![0xff, b'/'], "expected one in UTF-8");
    refuse_zip(|all| all.push(Member::new("m/byteorder", b"big")), "an order of bytes other than little-endian");
    refuse_zip(|all| all.push(Member::new("m/byteorder", &[b'x'; 99])), "found 99 bytes, expected at most 16");
    refuse_zip(|all| all.clear(), "");
}

#[test]
fn legacy_files_that_lie_are_refused() {
    let storages = |count: u64| [&count.to_le_bytes()[..], &FLOATS].concat();
    let cases = [
        (legacy(&valid(), &["0"], &storages(5)), "storage \"0\": needs 20 bytes, but only 16 are left"),
        (legacy(&valid(), &["0"], &storages(u64::MAX)), "storage \"0\": needs 18446744073709551615 bytes"),
        (legacy(&valid(), &["0"], &[1, 2]), "storage \"0\": needs 8 bytes, but only 2 are left"),
        (legacy(&valid(), &[], &storages(4)), "a storage that is in the file"),
        (legacy(&valid(), &["0", "9"], &storages(4)), "storage \"9\": found bytes of it"),
        (legacy(&valid(), &["0", "0"], &[storages(4), storages(4)].concat()), "storage \"0\": found a second one"),
        (legacy(&valid(), &["0"], &storages(3)), "expected a storage inside its 12 bytes"),
    ];
    for (bytes, expected) in cases {
        let message = refusal(bytes);
        assert!(message.contains(expected), "{message}\nshould contain {expected}");
    }
}

#[test]
fn compressed_members_cannot_grow_beyond_what_they_say() {
    // A deflated member in a stored block, so that its bytes can be spelled: more, fewer, or many more than it says.
    let deflated = |data: &[u8], says: u64, crc: u32| {
        let length = data.len() as u16;
        let block = [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat();
        let mut member = Member::new("m/data/0", &block);
        (member.method, member.sizes, member.crc) = (8, [block.len() as u64, says], crc);
        zip(&[Member::new("m/data.pkl", &valid()), member])
    };
    let crc = common::pickle::crc32(&FLOATS);
    assert!(Checkpoint::from_bytes("m", deflated(&FLOATS, 16, crc)).is_ok());
    for (bytes, expected) in [
        (deflated(&FLOATS, 16, crc ^ 1), "expected bytes that agree with their sum"),
        (deflated(&FLOATS, 12, crc), ""),
        (deflated(&FLOATS, 20, crc), ""),
        (deflated(&FLOATS, 1 << 40, crc), "bytes when unpacked"),
        (deflated(&FLOATS, u64::MAX, crc), "bytes when unpacked"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains("m/data/0") && message.contains(expected), "{message}");
    }
}

#[test]
fn arrays_that_are_pickles_or_lie_are_refused() {
    let npy = |header: &str, data: &[u8]| {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let header = |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    let cases = [
        (npy(&header("'|O'", "(1,)"), &valid()), "the element type \"|O\" is not supported"),
        (npy(&header("'>f4'", "(4,)"), &FLOATS), "the element type \">f4\" is not supported"),
        (npy(&header("[('a', '<f4')]", "(4,)"), &FLOATS), "no fields"),
        (npy(&header("'<f4'", "(5,)"), &FLOATS), "found 16 bytes for shape [5] of F32"),
        (npy(&header("'<f4'", "(4294967296, 4294967296)"), &FLOATS), ""),
        (npy(&header("__import__('os')", "(4,)"), &FLOATS), "its texts in quotes"),
        (npy("", &FLOATS), "expected the literal of a dictionary"),
        (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "header: needs"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "found a header of 4294967295 bytes"),
        (b"\x93NUMPY\x04\x00\x00\x00".to_vec(), "found version [4, 0]"),
        (b"\x93NUMPY".to_vec(), "header: needs 8 bytes"),
    ];
    for (bytes, expected) in cases {
        let archived = refusal(zip(&[Member::new("a.npy", &bytes)]));
        assert!(archived.contains("zip member \"a.npy\"") && archived.contains(expected), "{archived}");
        let message = refusal(bytes);
        assert!(message.contains(expected), "{message}");
    }
}
