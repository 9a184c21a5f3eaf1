//! GGUF files that are damaged or hostile: each is refused by its own error, and none takes memory for what it
//! only says it has.

mod gguf_file;

use gguf_file::{
    File, Tensor, Value, bool_value, f32_value, i8_value, i32_value, list_value, text_bytes, text_value,
    u8_value, u16_value, u32_value,
};
use tercet::gguf::{Gguf, GgufError, TensorType};

const F32: u32 = 0;
const I2_S: u32 = 36;
const TQ1_0: u32 = 34;

/// A right file: `[2, 4]` floats, and 256 codes of I2_S.
fn right() -> File {
    let metadata = [
        ("general.architecture", text_value("bitnet")),
        ("a.count", u32_value(7)),
        ("a.flag", bool_value(1)),
        ("a.rate", f32_value(0.5)),
        ("a.negative", i32_value(-1)),
        ("a.words", list_value(8, 2, &[text_bytes("ä"), text_bytes("")].concat())),
        ("a.numbers", list_value(5, 2, &[1i32.to_le_bytes(), 2i32.to_le_bytes()].concat())),
        ("a.floats", list_value(6, 1, &1.5f32.to_le_bytes())),
    ];
    File {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        key_count: None,
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).to_vec(),
        tensors: vec![Tensor::new("floats", &[4, 2], F32, 0), Tensor::new("codes", &[64, 4], I2_S, 32)],
        alignment: 32,
        data: vec![0x55; 32 + 64 + 32],
    }
}

fn open(bytes: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::in_memory("m.gguf", bytes.into())
}

#[test]
fn a_right_file_is_read() {
    for version in [2, 3] {
        let gguf = open(&File { version, ..right() }.bytes()).unwrap();
        let metadata = gguf.metadata();
        assert_eq!(metadata.keys().count(), 8);
        assert_eq!(metadata.string("general.architecture").unwrap(), Some("bitnet"));
        assert_eq!(metadata.integer("a.count").unwrap(), Some(7));
        assert_eq!(metadata.boolean("a.flag").unwrap(), Some(true));
        assert_eq!(metadata.float("a.rate").unwrap(), Some(0.5));
        assert_eq!(metadata.strings("a.words").unwrap().unwrap().collect::<Vec<_>>(), ["ä", ""]);
        assert_eq!(metadata.integers("a.numbers").unwrap().unwrap(), [1, 2]);
        assert_eq!(metadata.floats("a.floats").unwrap().unwrap(), [1.5]);
        assert_eq!(metadata.integer("absent").unwrap(), None);
        let [floats, codes] = gguf.tensors() else { panic!("two tensors") };
        assert_eq!((floats.name.as_str(), floats.shape.as_slice()), ("floats", &[2, 4][..]));
        assert_eq!((codes.tensor_type, codes.shape.as_slice()), (TensorType::I2S, &[4, 64][..]));
        assert_eq!((gguf.bytes_of(floats).len(), gguf.bytes_of(codes).len()), (32, 96));
    }
}

#[test]
fn values_of_another_type_are_errors() {
    let gguf = open(&right().bytes()).unwrap();
    let metadata = gguf.metadata();
    let message = |error: tercet::gguf::MetadataError| error.to_string();
    let check =
        |found: String, want: &str| assert!(found.contains(want), "found `{found}`, expected `{want}`");
    check(message(metadata.integer("a.rate").unwrap_err()), "`a.rate` is of type float32, expected a whole");
    check(message(metadata.integer("a.negative").unwrap_err()), "`a.negative` is -1, expected");
    check(message(metadata.float("a.count").unwrap_err()), "uint32, expected a float");
    check(message(metadata.boolean("a.count").unwrap_err()), "expected a truth value");
    check(message(metadata.string("a.words").unwrap_err()), "list of string, expected a text");
    check(message(metadata.strings("a.numbers").err().unwrap()), "list of int32, expected a list of texts");
    check(message(metadata.floats("a.numbers").unwrap_err()), "expected a list of float32");
    check(message(metadata.integers("a.floats").unwrap_err()), "expected a list of int32 or uint32");
}

/// A kind of damage: what is done to a right file, and what the error says.
type Damage = (&'static str, fn(&mut File), &'static str);

const DAMAGES: &[Damage] = &[
    ("magic", |f| f.magic = *b"GGML", "found the first bytes `GGML`, expected `GGUF`"),
    ("magic of a ZIP archive", |f| f.magic = *b"PK\x03\x04", "found the first bytes `PK\\x03\\x04`"),
    ("version 0", |f| f.version = 0, "version 0"),
    ("version 1", |f| f.version = 1, "version 1"),
    ("a later version", |f| f.version = 4, "version 4"),
    ("big endian", |f| f.version = 3u32.swap_bytes(), "big-endian"),
    ("2^64 - 1 tensors", |f| f.tensor_count = Some(u64::MAX), "18446744073709551615 tensors"),
    ("more tensors than bytes", |f| f.tensor_count = Some(60), "bytes for 60 tensors, expected at most the"),
    ("65537 tensors", |f| f.tensor_count = Some(65_537), "found 65537 tensors, expected at most 65536"),
    ("no tensors", |f| f.tensors.clear(), "found no tensors"),
    ("2^64 - 1 keys", |f| f.key_count = Some(u64::MAX), "18446744073709551615 keys"),
    ("one key too few", |f| f.key_count = Some(7), "expected"),
    ("one key too many", |f| f.key_count = Some(9), "expected"),
    ("an empty key", |f| f.metadata[1].0.clear(), "key 1 is empty"),
    ("a long key", |f| f.metadata[1].0 = "k".repeat(65_536), "65536 bytes for key 1"),
    ("a repeated key", |f| f.metadata[1].0 = f.metadata[0].0.clone(), "`general.architecture` occurs twice"),
    ("type 13", |f| f.metadata[1].1.0 = 13, "value of type 13"),
    ("type 2^32 - 1", |f| f.metadata[1].1.0 = u32::MAX, "value of type 4294967295"),
    ("a truth value of 2", |f| f.metadata[2].1 = bool_value(2), "truth value of 2"),
    ("a list of lists", |f| f.metadata[1].1 = list_value(9, 1, &[0; 16]), "list of lists"),
    ("a list of type 99", |f| f.metadata[1].1 = list_value(99, 1, &[0; 16]), "value of type 99"),
    (
        "a list beyond the end",
        |f| f.metadata[7].1 = list_value(0, 10_000, &[]),
        "found 10000 bytes for 10000 elements of key `a.floats`, expected at most the",
    ),
    (
        "a list of 2^64 - 1 texts",
        |f| f.metadata[7].1 = list_value(8, u64::MAX, &[]),
        "18446744073709551615 elements",
    ),
    (
        "a list of 2^61 numbers",
        |f| f.metadata[7].1 = list_value(12, 1 << 61, &[0; 8]),
        "2305843009213693952 elements",
    ),
    (
        "a text in a list beyond the end",
        |f| f.metadata[7].1 = list_value(8, 1, &4096u64.to_le_bytes()),
        "4096 bytes for key `a.floats`",
    ),
    (
        "a text of 2^64 - 1 bytes",
        |f| f.metadata[0].1 = Value(8, u64::MAX.to_le_bytes().to_vec()),
        "18446744073709551615 bytes for key `general.architecture`",
    ),
    (
        "a text beyond the end",
        |f| f.metadata[7].1 = Value(8, 9000u64.to_le_bytes().to_vec()),
        "9000 bytes for key `a.floats`, expected at most the",
    ),
    (
        "a text that is not UTF-8",
        |f| f.metadata[0].1.1[9] = 0xff,
        "key `general.architecture` is not UTF-8 from byte 1",
    ),
    (
        "a text in a list that is not UTF-8",
        |f| f.metadata[5].1 = list_value(8, 1, &[&1u64.to_le_bytes()[..], &[0xc3]].concat()),
        "key `a.words` is not UTF-8",
    ),
    ("alignment 13", |f| f.metadata.push(("general.alignment".into(), u32_value(13))), "alignment` is 13"),
    ("alignment 0", |f| f.metadata.push(("general.alignment".into(), u32_value(0))), "alignment` is 0"),
    (
        "alignment 2^31",
        |f| f.metadata.push(("general.alignment".into(), u32_value(1 << 31))),
        "alignment` is 2147483648",
    ),
    (
        "alignment as a text",
        |f| f.metadata.push(("general.alignment".into(), text_value("32"))),
        "`general.alignment` is of type string",
    ),
    (
        "a negative alignment",
        |f| f.metadata.push(("general.alignment".into(), i8_value(-32))),
        "`general.alignment` is -32",
    ),
    (
        "offsets of another alignment",
        |f| f.metadata.push(("general.alignment".into(), u8_value(64))),
        "`codes` begins at 32, expected a multiple of 64",
    ),
    ("a tensor without a name", |f| f.tensors[1].name.clear(), "tensor 1 has a name of 0 bytes"),
    ("a name of 64 bytes", |f| f.tensors[1].name = "n".repeat(64), "a name of 64 bytes"),
    ("a repeated tensor", |f| f.tensors[1].name = "floats".into(), "tensor `floats` occurs twice"),
    ("no dimensions", |f| f.tensors[0].dimensions = 0, "0 dimensions"),
    ("5 dimensions", |f| f.tensors[0].dimensions = 5, "5 dimensions"),
    ("2^32 - 1 dimensions", |f| f.tensors[0].dimensions = u32::MAX, "4294967295 dimensions"),
    ("a dimension of 0", |f| f.tensors[0].sizes[1] = 0, "`floats` has a dimension of 0"),
    ("a negative dimension", |f| f.tensors[0].sizes[1] = u64::MAX, "dimension of 18446744073709551615"),
    ("elements that overflow", |f| f.tensors[0].sizes = vec![1 << 62, 4], "more bytes than a file can have"),
    ("bytes that overflow", |f| f.tensors[0].sizes = vec![1 << 61, 2], "more bytes than a file can have"),
    (
        "an end that overflows",
        |f| f.tensors[1].offset = u64::MAX - 31,
        "`codes` has more bytes than a file can have",
    ),
    ("an unknown type", |f| f.tensors[0].number = 500, "`floats` is of type 500, an unknown type"),
    ("a Q4_K tensor", |f| f.tensors[0].number = 12, "Q4_K: a dense model in few bits"),
    ("a TL1 tensor", |f| f.tensors[0].number = 38, "TL1: its layout depends on the machine"),
    ("a TL2 tensor", |f| f.tensors[0].number = 39, "TL2 or llama.cpp's MXFP4: two programs mean"),
    ("ik_llama's IQ2_BN", |f| f.tensors[0].number = 135, "ik_llama.cpp's IQ2_BN"),
    (
        "rows that are no multiple of a block",
        |f| f.tensors[0].number = TQ1_0,
        "`floats` of type TQ1_0 has 4 elements a row, expected a multiple of 256",
    ),
    (
        "codes that are no multiple of a block",
        |f| f.tensors[1].sizes = vec![65, 4],
        "`codes` of type I2_S has 260 elements in all, expected a multiple of 128",
    ),
    ("a misaligned tensor", |f| f.tensors[1].offset = 33, "`codes` begins at 33"),
    ("tensors that overlap", |f| f.tensors[1].offset = 0, "share bytes"),
    (
        "data that is short",
        |f| f.data.truncate(127),
        "`codes` ends at byte 128 of the data, expected at most 127",
    ),
    ("no data", |f| f.data.clear(), "expected at most 0"),
    (
        "one of several files",
        |f| f.metadata.push(("split.count".into(), u16_value(3))),
        "`split.count` is 3, a part of a model in several files",
    ),
    (
        "the first of several files, without tensors",
        |f| {
            f.metadata.push(("split.count".into(), u16_value(3)));
            f.tensors.clear();
        },
        "`split.count` is 3",
    ),
    (
        "two tensors whose sizes wrap when added",
        |f| {
            for (tensor, offset) in f.tensors.iter_mut().zip([0, 0x7fff_ffff_ffff_ffc0]) {
                (tensor.sizes, tensor.offset) = (vec![0x7fff_ffff_ffff_ffc0 / 4, 1], offset);
            }
        },
        "more bytes than a file can have",
    ),
];

#[test]
fn every_damage_has_its_own_error() {
    assert!(DAMAGES.len() >= 40, "{}", DAMAGES.len());
    for (what, damage, want) in DAMAGES {
        let mut file = right();
        damage(&mut file);
        match open(&file.bytes()) {
            Ok(_) => panic!("{what}: the file was read"),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains(want), "{what}: found `{message}`, expected `{want}`");
                assert!(message.starts_with("m.gguf: "), "{what}: `{message}` does not name the file");
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_says_that_it_is_cut() {
    let bytes = right().bytes();
    for len in 0..bytes.len() {
        match open(&bytes[..len]) {
            Err(GgufError::BeyondEnd { .. } | GgufError::DataShort { .. }) => {}
            Err(GgufError::Empty { .. }) if len == 0 => {}
            other => panic!("cut after {len} bytes: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn a_model_in_one_file_may_say_so() {
    let mut file = right();
    file.metadata.push(("split.count".into(), u16_value(1)));
    open(&file.bytes()).unwrap();
}

#[test]
fn files_of_a_model_in_several_are_to_be_joined() {
    let mut file = right();
    file.metadata.push(("split.count".into(), u16_value(2)));
    let hint = open(&file.bytes()).unwrap_err().hint().unwrap();
    assert!(hint.contains("llama-gguf-split --merge"), "{hint}");
}

#[test]
fn no_byte_makes_it_panic() {
    let bytes = right().bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 7, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(gguf) = open(&changed) {
                for tensor in gguf.tensors() {
                    gguf.bytes_of(tensor);
                }
                for key in gguf.metadata().keys() {
                    gguf.metadata().strings(key).ok().flatten().map(Iterator::count);
                }
            }
        }
    }
}

#[test]
fn a_hostile_text_shows_no_control_characters() {
    let mut file = right();
    file.tensors[1].name = "\u{1b}[2J".into();
    file.tensors[1].number = 12;
    let message = open(&file.bytes()).unwrap_err().to_string();
    assert!(!message.contains('\u{1b}'), "{message:?}");
}
