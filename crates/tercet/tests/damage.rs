//! A zoo of damaged model folders, each with the message it must be refused with.
//!
//! Every case starts from a right folder, breaks one thing, writes the folder to disk and reads
//! it as a user would. One line a kind of damage: what it is, how it is done, what is said.

mod tiny_model;

use serde_json::{Map, Value, json};
use tercet::checkpoint::{Checkpoint, INDEX_FILE, SINGLE_FILE};
use tercet::config::Config;
use tercet::source::{MemoryFolder, Source};
use tercet::tokenizer::Tokenizer;
use tiny_model::{KINDS, Kind, TinyModel, safetensors_bytes};

const Q_PROJ: &str = "model.layers.0.self_attn.q_proj.weight";
const SCALE: &str = "model.layers.1.mlp.down_proj.weight_scale";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// Reads everything that a model folder has; the message of the first error, if any.
fn read(folder: &MemoryFolder) -> Result<(), String> {
    let path = tempfile::tempdir().unwrap();
    for (name, bytes) in &folder.files {
        std::fs::write(path.path().join(name), bytes).unwrap();
    }
    let source = Source::folder(path.path()).unwrap();
    let checkpoint = Checkpoint::open(&source).map_err(|error| error.to_string())?;
    let config = Config::read(&source, &checkpoint).map_err(|error| error.to_string())?;
    Tokenizer::read(&source, &config).map_err(|error| error.to_string())?;
    Ok(())
}

/// Checks that a folder is refused with a message that has `expected` in it.
#[track_caller]
fn check_refused(what: &str, folder: &MemoryFolder, expected: &str) {
    let message = read(folder).expect_err(what);
    assert!(message.contains(expected), "{what}: found `{message}`, expected `{expected}`");
    assert!(!message.ends_with('.'), "{what}: `{message}` ends with a full stop");
}

#[test]
fn undamaged_folders_are_read() {
    for kind in KINDS {
        assert_eq!(read(&TinyModel::new(kind).folder()), Ok(()), "{kind:?}");
    }
    assert_eq!(read(&sharded()), Ok(()));
}

// Files of tensors.

type FileDamage = (&'static str, fn(&mut MemoryFolder), &'static str);

fn edit(folder: &mut MemoryFolder, file: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = folder.files[file].to_vec();
    edit(&mut bytes);
    folder.files.insert(file.to_owned(), bytes.into());
}

fn replace(folder: &mut MemoryFolder, file: &str, bytes: &[u8]) {
    folder.files.insert(file.to_owned(), bytes.into());
}

/// Puts another length in front of the header.
fn header_length(folder: &mut MemoryFolder, length: u64) {
    edit(folder, SINGLE_FILE, |bytes| bytes[..8].copy_from_slice(&length.to_le_bytes()));
}

/// Rewrites the header, keeping the data.
fn header(folder: &mut MemoryFolder, rewrite: impl FnOnce(String) -> String) {
    edit(folder, SINGLE_FILE, |bytes| {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let text = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap();
        let text = rewrite(text.trim_end().to_owned());
        let data = bytes.split_off(8 + length);
        *bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.into_bytes());
        bytes.extend(data);
    });
}

/// Edits one tensor's entry in the header.
fn entry(folder: &mut MemoryFolder, edit: impl FnOnce(&mut Value)) {
    header(folder, |text| {
        let mut header: Map<String, Value> = serde_json::from_str(&text).unwrap();
        edit(&mut header[Q_PROJ]);
        Value::Object(header).to_string()
    });
}

#[rustfmt::skip]
const SAFETENSORS: &[FileDamage] = &[
    ("no tensors at all", |f| drop(f.files.remove(SINGLE_FILE)), "found no `model.safetensors` and no"),
    ("only pickled weights", |f| { f.files.remove(SINGLE_FILE); replace(f, "pytorch_model.bin", b"x") }, "pytorch_model.bin: found a pickled file, expected safetensors"),
    ("an empty file", |f| replace(f, SINGLE_FILE, b""), "found 0 bytes, expected at least 8"),
    ("seven bytes", |f| replace(f, SINGLE_FILE, &[1; 7]), "found 7 bytes, expected at least 8"),
    ("a pickle renamed", |f| replace(f, SINGLE_FILE, b"\x80\x04\x95\0\0\0\0\0\0\0}."), "found a Python pickle"),
    ("a ZIP renamed", |f| replace(f, SINGLE_FILE, b"PK\x03\x04\x14\0\0\0\0\0"), "found a ZIP archive"),
    ("a GGUF renamed", |f| replace(f, SINGLE_FILE, b"GGUF\x03\0\0\0\0\0"), "found a GGUF file"),
    ("a Git LFS pointer", |f| replace(f, SINGLE_FILE, b"version https://git-lfs.github.com/spec/v1\n"), "found a Git LFS pointer"),
    ("a header over the limit", |f| header_length(f, 100_000_001), "header length is 100000001, expected at most 100000000"),
    ("a header length of 2^64 - 1", |f| header_length(f, u64::MAX), "header length is 18446744073709551615"),
    ("a header longer than the file", |f| header_length(f, 99_999_999), "header length is 99999999, but only"),
    ("a header cut short", |f| edit(f, SINGLE_FILE, |b| b.truncate(100)), "but only 92 bytes follow it"),
    ("a header of no bytes", |f| header_length(f, 0), "found no tensors"),
    ("a header that is not UTF-8", |f| edit(f, SINGLE_FILE, |b| b[10] = 0xff), "header is not UTF-8 after its first 2 bytes"),
    ("a header after a space", |f| header(f, |t| format!(" {t}")), "header begins with byte 0x20, expected `{`"),
    ("a header that is a list", |f| header(f, |_| "[]".to_owned()), "header begins with byte 0x5b"),
    ("a header that is not JSON", |f| header(f, |t| t.replacen(':', "=", 1)), "header cannot be parsed: tensor `model.embed_tokens.weight`: expected `:`"),
    ("a header that goes on", |f| header(f, |t| format!("{t}{{}}")), "header cannot be parsed: trailing characters"),
    ("a header of 100,000 brackets", |f| header(f, |_| format!("{{\"a\":{}", "[".repeat(100_000))), "header cannot be parsed: tensor `a`"),
    ("a header without tensors", |f| replace(f, SINGLE_FILE, b"\x02\0\0\0\0\0\0\0{}"), "found no tensors, expected at least one"),
    ("a tensor twice", |f| header(f, |t| { t.replace("model.layers.1.self_attn.q_proj.weight\"", "model.layers.0.self_attn.q_proj.weight\"") }), "key `model.layers.0.self_attn.q_proj.weight` occurs twice"),
    ("metadata that is not text", |f| header(f, |t| t.replacen('{', r#"{"__metadata__":{"a":1},"#, 1)), "refused by the safetensors reader: invalid JSON in header"),
    ("an unknown type", |f| entry(f, |e| e["dtype"] = json!("Q4")), "tensor `model.layers.0.self_attn.q_proj.weight`: unknown variant `Q4`"),
    ("a negative size", |f| entry(f, |e| e["shape"][0] = json!(-4)), "q_proj.weight`: invalid value: integer `-4`"),
    ("a size that overflows", |f| entry(f, |e| e["shape"] = json!([1u64 << 40, 1u64 << 40])), "[1099511627776, 1099511627776] has a size that overflows"),
    ("a shape that is not the span", |f| entry(f, |e| e["shape"][1] = json!(17)), "spans 64 bytes, expected 68 for U8 of shape [4, 17]"),
    ("a type that is not the span", |f| entry(f, |e| e["dtype"] = json!("I32")), "spans 64 bytes, expected 256 for I32"),
    ("no offsets", |f| entry(f, |e| { drop(e.as_object_mut().unwrap().remove("data_offsets")) }), "missing field `data_offsets`"),
    ("offsets in reverse", |f| entry(f, |e| e["data_offsets"].as_array_mut().unwrap().reverse()), "before its begin at"),
    ("a gap or an overlap", |f| entry(f, |e| { e["data_offsets"][0] = json!(e["data_offsets"][0].as_u64().unwrap() - 1) }), "tensors must follow each other without gap or overlap"),
    ("an offset of 2^63", |f| entry(f, |e| { e["data_offsets"] = json!([1u64 << 63, (1u64 << 63) + 64]) }), "v_proj.weight` begins at byte 10380 of the data, expected 10316"),
    ("a name with an escape code", |f| header(f, |t| t.replace(SCALE, "\\u001b[2J")), "tensor name `\\u{1b}[2J` is too long or has control"),
    ("data cut short", |f| edit(f, SINGLE_FILE, |b| b.truncate(b.len() - 1)), "bytes of data, expected"),
    ("data that goes on", |f| edit(f, SINGLE_FILE, |b| b.push(0)), "bytes of data, expected"),
];

#[test]
fn damaged_safetensors_are_refused() {
    for (what, damage, expected) in SAFETENSORS {
        let mut folder = TinyModel::new(Kind::Bitnet).folder();
        damage(&mut folder);
        check_refused(what, &folder, expected);
    }
}

/// A right folder whose tensors are in two files.
fn sharded() -> MemoryFolder {
    let mut model = TinyModel::new(Kind::Bitnet);
    let mut folder = model.folder();
    let second = model.tensors.split_off(SCALE);
    let mut shard_of = Map::new();
    for (shard, tensors) in SHARDS.iter().zip([&model.tensors, &second]) {
        folder.files.insert((*shard).to_owned(), safetensors_bytes(tensors).into());
        shard_of.extend(tensors.keys().map(|name| (name.clone(), (*shard).into())));
    }
    folder.files.remove(SINGLE_FILE);
    let index = json!({"metadata": {"total_size": 1}, "weight_map": shard_of});
    replace(&mut folder, INDEX_FILE, index.to_string().as_bytes());
    folder
}

/// Edits the index.
fn index(folder: &mut MemoryFolder, change: impl FnOnce(&mut Value)) {
    edit(folder, INDEX_FILE, |bytes| {
        let mut index: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut index);
        *bytes = index.to_string().into();
    });
}

/// Says that the scale is in this file.
fn scale_in(folder: &mut MemoryFolder, shard: &str) {
    index(folder, |index| index["weight_map"][SCALE] = shard.into());
}

#[rustfmt::skip]
const INDEX: &[FileDamage] = &[
    ("an index that is not JSON", |f| replace(f, INDEX_FILE, b"{"), "index.json: cannot be parsed: EOF"),
    ("an index that is a list", |f| replace(f, INDEX_FILE, b"[]"), "found a list, expected an object"),
    ("an index without a map", |f| index(f, |i| *i = json!({})), "`weight_map` is missing"),
    ("an index whose map is a list", |f| index(f, |i| i["weight_map"] = json!([])), "`weight_map` is a list, expected an object"),
    ("an index of nothing", |f| index(f, |i| i["weight_map"] = json!({})), "`weight_map` is empty"),
    ("a tensor in a number", |f| index(f, |i| i["weight_map"]["x"] = json!(3)), "tensor `x` is said to be in a number"),
    ("a tensor twice in the index", |f| { replace(f, INDEX_FILE, br#"{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}"#) }, "key `x` occurs twice"),
    ("a file above the folder", |f| scale_in(f, "../x.safetensors"), "`../x.safetensors`, expected a plain file name"),
    ("a file by its full path", |f| scale_in(f, "/etc/x.safetensors"), "`/etc/x.safetensors`, expected a plain file name"),
    ("a file on a drive", |f| scale_in(f, r"C:\x.safetensors"), r"`C:\x.safetensors`, expected a plain file name"),
    ("a pickled shard", |f| scale_in(f, "pytorch_model-1.bin"), "`pytorch_model-1.bin`, expected a plain file name"),
    ("a shard that is not there", |f| drop(f.files.remove(SHARDS[1])), "file `model-00002-of-00002.safetensors` is missing"),
    ("a shard too many", |f| replace(f, "model-00003-of-00003.safetensors", b""), "`model-00003-of-00003.safetensors` lies in the folder"),
    ("a tensor in the other shard", |f| scale_in(f, SHARDS[0]), "gives as in `model-00001-of-00002.safetensors`"),
    ("a tensor in no shard", |f| index(f, |i| i["weight_map"]["x"] = SHARDS[0].into()), "tensor `x` is said to be in `model-00001-of-00002.safetensors`, which does not have it"),
    ("a tensor not in the index", |f| index(f, |i| { drop(i["weight_map"].as_object_mut().unwrap().remove(SCALE)) }), "down_proj.weight_scale`, which is not in `weight_map`"),
    ("a single file beside the index", |f| replace(f, SINGLE_FILE, b""), "found both `model.safetensors` and"),
    ("a damaged shard", |f| edit(f, SHARDS[1], |b| b.truncate(b.len() - 1)), "model-00002-of-00002.safetensors: found"),
];

#[test]
fn damaged_indices_are_refused() {
    for (what, damage, expected) in INDEX {
        let mut folder = sharded();
        damage(&mut folder);
        check_refused(what, &folder, expected);
    }
}

// The configuration, and the tensors against it.

type ModelDamage = (&'static str, Kind, fn(&mut TinyModel), &'static str);

fn set(model: &mut TinyModel, field: &str, value: Value) {
    model.config.insert(field.to_owned(), value);
}

fn set_quantization(model: &mut TinyModel, field: &str, value: Value) {
    model.config["quantization_config"][field] = value;
}

use Kind::{Bitnet, BitnetMasters, Dense, NormInLinear, OneBitLlm, TernaryLlama};

#[rustfmt::skip]
const CONFIG: &[ModelDamage] = &[
    ("no model type", Dense, |m| drop(m.config.remove("model_type")), "config.json: field `model_type` is missing"),
    ("an unknown model type", Dense, |m| set(m, "model_type", json!("qwen3")), "field `model_type` is \"qwen3\", supported: `bitnet`, `llama`"),
    ("an unknown architecture", Dense, |m| set(m, "architectures", json!(["Gemma"])), "field `architectures` is [\"Gemma\"], supported"),
    ("no hidden size", Dense, |m| drop(m.config.remove("hidden_size")), "field `hidden_size` is missing"),
    ("a hidden size of 2^63", Dense, |m| set(m, "hidden_size", json!(1u64 << 63)), "field `hidden_size` is 9223372036854775808, expected a whole number from 1 to 1048576"),
    ("a hidden size of text", Dense, |m| set(m, "hidden_size", json!("16")), "field `hidden_size` is \"16\", expected a whole number"),
    ("a fractional size", Dense, |m| set(m, "intermediate_size", json!(22.5)), "field `intermediate_size` is 22.5, expected a whole number"),
    ("no layers", Dense, |m| set(m, "num_hidden_layers", json!(0)), "field `num_hidden_layers` is 0, expected"),
    ("10^9 layers", Dense, |m| set(m, "num_hidden_layers", json!(1_000_000_000)), "field `num_hidden_layers` is 1000000000, expected a whole number from 1 to 1024"),
    ("a layer too few", Dense, |m| set(m, "num_hidden_layers", json!(1)), "belongs to layer 1, but `num_hidden_layers` is 1"),
    ("a layer too many", Dense, |m| set(m, "num_hidden_layers", json!(3)), "tensor `model.layers.2.input_layernorm.weight` is missing, expected shape [16]"),
    ("no heads", Dense, |m| set(m, "num_attention_heads", json!(0)), "field `num_attention_heads` is 0"),
    ("heads that do not divide", Dense, |m| set(m, "num_attention_heads", json!(3)), "`num_key_value_heads` is 2, which does not divide `num_attention_heads`, 3"),
    ("heads that do not divide the hidden size", Dense, |m| set(m, "num_attention_heads", json!(6)), "`num_attention_heads` is 6, which does not divide `hidden_size`, 16"),
    ("more key-value heads than heads", Dense, |m| set(m, "num_key_value_heads", json!(8)), "`num_key_value_heads` is 8, which does not divide"),
    ("an odd head", Dense, |m| set(m, "head_dim", json!(5)), "field `head_dim` is 5, expected an even number"),
    ("a head that the kernels have no room for", Dense, |m| set(m, "head_dim", json!(1026)), "field `head_dim` is 1026, expected a whole number from 1 to 1024"),
    ("a head of the hidden size that they have no room for", Dense, |m| { set(m, "hidden_size", json!(4104)); drop(m.config.remove("head_dim")) }, "field `hidden_size / num_attention_heads` is 1026, expected at most 1024"),
    ("a ternary linear wider than sums can be", Bitnet, |m| set(m, "intermediate_size", json!(131_072)), "field `intermediate_size` is 131072, expected at most 131071, the inputs of a ternary linear"),
    ("masters wider than sums can be", OneBitLlm, |m| { set(m, "hidden_size", json!(131_072)); set(m, "num_attention_heads", json!(128)) }, "field `hidden_size` is 131072, expected at most 131071"),
    ("heads that are wider together", Bitnet, |m| { set(m, "num_attention_heads", json!(132)); set(m, "head_dim", json!(1024)) }, "field `num_attention_heads * head_dim` is 135168, expected at most 131071"),
    ("a dense linear of that width", Dense, |m| set(m, "intermediate_size", json!(131_072)), "has shape [22, 16], expected [131072, 16]"),
    ("another head", Dense, |m| set(m, "head_dim", json!(8)), "q_proj.weight` has shape [16, 16], expected [32, 16]"),
    ("a vocabulary of 2^40", Dense, |m| set(m, "vocab_size", json!(1u64 << 40)), "field `vocab_size` is 1099511627776, expected"),
    ("another vocabulary", Dense, |m| set(m, "vocab_size", json!(299)), "`model.embed_tokens.weight` has shape [300, 16], expected [299, 16]"),
    ("a negative epsilon", Dense, |m| set(m, "rms_norm_eps", json!(-1e-5)), "field `rms_norm_eps` is -0.00001, expected a number from 0 to 1"),
    ("an endless epsilon", Dense, |m| set(m, "rms_norm_eps", json!(1e300)), "field `rms_norm_eps` is 1e+300, expected"),
    ("an epsilon of text", Dense, |m| set(m, "rms_norm_eps", json!("NaN")), "field `rms_norm_eps` is \"NaN\", expected a number"),
    ("a theta of 0", Dense, |m| set(m, "rope_theta", json!(0)), "field `rope_theta` is 0, expected a positive number"),
    ("two thetas", Dense, |m| set(m, "rope_parameters", json!({"rope_theta": 5.0})), "field `rope_parameters.rope_theta` is 5, but `rope_theta` is 10000"),
    ("scaled positions", Dense, |m| set(m, "rope_scaling", json!({"rope_type": "llama3"})), "field `rope_scaling.rope_type` is \"llama3\", supported: `default`"),
    ("a scaling factor", Dense, |m| set(m, "rope_scaling", json!({"factor": 8.0})), "field `rope_scaling.factor` is 8.0, supported"),
    ("rotation of a part", Dense, |m| set(m, "partial_rotary_factor", json!(0.5)), "field `partial_rotary_factor` is 0.5, supported: 1"),
    ("a sliding window", Dense, |m| set(m, "sliding_window", json!(4096)), "field `sliding_window` is 4096, supported: null"),
    ("windows in some layers", Dense, |m| set(m, "layer_types", json!(["sliding_attention"])), "field `layer_types` is [\"sliding_attention\"]"),
    ("a promised bias", Dense, |m| set(m, "attention_bias", json!(true)), "field `attention_bias` is true, supported: false"),
    ("a promised bias of the MLP", Dense, |m| set(m, "mlp_bias", json!(true)), "field `mlp_bias` is true"),
    ("an unknown activation", Dense, |m| set(m, "hidden_act", json!("gelu")), "field `hidden_act` is \"gelu\", supported: `silu`, `relu2`"),
    ("a token beyond the vocabulary", Dense, |m| set(m, "bos_token_id", json!(300)), "field `bos_token_id` names token 300, expected less than `vocab_size`, 300"),
    ("an end token beyond it", Dense, |m| set(m, "eos_token_id", json!([1, 4_294_967_297u64])), "field `eos_token_id` names token 4294967297"),
    ("a negative token", Dense, |m| set(m, "eos_token_id", json!(-1)), "field `eos_token_id` is -1, expected a token"),
    ("a head that is not tied", Dense, |m| set(m, "tie_word_embeddings", json!(false)), "tensor `lm_head.weight` is missing"),
    ("a head that is not the embedding", TernaryLlama, |m| set(m, "tie_word_embeddings", json!(true)), "`lm_head.weight` differs from `model.embed_tokens.weight`"),
    ("an unknown method", Bitnet, |m| set_quantization(m, "quant_method", json!("gptq")), "field `quantization_config.quant_method` is \"gptq\", supported: `bitnet`"),
    ("no method", Bitnet, |m| set(m, "quantization_config", json!({"bits": 2})), "field `quantization_config.quant_method` is missing"),
    ("an unknown class", Bitnet, |m| set_quantization(m, "linear_class", json!("hbitlinear")), "field `quantization_config.linear_class` is \"hbitlinear\""),
    ("an unknown mode", Bitnet, |m| set_quantization(m, "quantization_mode", json!("later")), "field `quantization_config.quantization_mode` is \"later\""),
    ("linears left out", Bitnet, |m| set_quantization(m, "modules_to_not_convert", json!(["o_proj"])), "field `quantization_config.modules_to_not_convert` is [\"o_proj\"]"),
    ("a lost quantisation", BitnetMasters, |m| drop(m.config.remove("quantization_config")), "there is no `quantization_config` that says how it is quantised"),
    ("two bits a weight", OneBitLlm, |m| set(m, "weight_bits", json!(2)), "field `weight_bits` is 2, supported: 1"),
    ("two bits beside a quantisation", Bitnet, |m| set(m, "weight_bits", json!(2)), "field `weight_bits` is 2, supported: 1"),
    ("four bits an activation", OneBitLlm, |m| set(m, "input_bits", json!(4)), "field `input_bits` is 4, supported: 8"),
];

/// Changes a tensor's name.
fn rename(model: &mut TinyModel, from: &str, to: &str) {
    let tensor = model.tensors.remove(from).unwrap();
    model.tensors.insert(to.to_owned(), tensor);
}

/// Adds a copy of the last norm under another name.
fn add_norm(model: &mut TinyModel, name: &str) {
    let norm = model.tensors["model.norm.weight"].clone();
    model.tensors.insert(name.to_owned(), norm);
}

/// Sets the bytes of the one scale.
fn set_scale(model: &mut TinyModel, bytes: [u8; 2]) {
    model.tensors.get_mut(SCALE).unwrap().bytes = bytes.to_vec();
}

/// Makes a tensor hold other numbers of the same shape.
fn set_dtype(model: &mut TinyModel, name: &str, dtype: safetensors::Dtype) {
    let tensor = model.tensors.get_mut(name).unwrap();
    let elements: usize = tensor.shape.iter().product();
    tensor.dtype = dtype;
    tensor.bytes = vec![0; elements * dtype.bitsize() / 8];
}

#[rustfmt::skip]
const TENSORS: &[ModelDamage] = &[
    ("a missing linear", Bitnet, |m| drop(m.tensors.remove(Q_PROJ)), "tensor `model.layers.0.self_attn.q_proj.weight` is missing, expected shape [4, 16]"),
    ("a missing scale", Bitnet, |m| drop(m.tensors.remove(SCALE)), "down_proj.weight_scale` is missing, expected shape [1]"),
    ("a missing sub-norm", Bitnet, |m| drop(m.tensors.remove("model.layers.0.mlp.ffn_sub_norm.weight")), "ffn_sub_norm.weight` is missing, expected shape [22]"),
    ("a missing norm in a linear", NormInLinear, |m| drop(m.tensors.remove("model.layers.0.mlp.up_proj.rms_norm.weight")), "up_proj.rms_norm.weight` is missing"),
    ("a missing norm of one layer", NormInLinear, |m| drop(m.tensors.remove("model.layers.1.input_layernorm.weight")), "model.layers.1.input_layernorm.weight` is missing"),
    ("a bias", Dense, |m| add_norm(m, "model.layers.0.self_attn.q_proj.bias"), "tensor `model.layers.0.self_attn.q_proj.bias` is a bias"),
    ("a norm of the queries", Dense, |m| add_norm(m, "model.layers.0.self_attn.q_norm.weight"), "q_norm.weight` is a norm that LLaMA with dense linears does not have"),
    ("sub-norms in a LLaMA", TernaryLlama, |m| add_norm(m, "model.layers.0.self_attn.attn_sub_norm.weight"), "attn_sub_norm.weight` is a norm that LLaMA with ternary linears does not have"),
    ("norms in linears that are not announced", NormInLinear, |m| set_quantization(m, "use_rms_norm", json!(false)), "down_proj.rms_norm.weight` is a norm that"),
    ("the norms of 1bitLLM without its bits", OneBitLlm, |m| drop(m.config.remove("weight_bits")), "is a norm that LLaMA with dense linears does not have"),
    ("an unknown tensor", Dense, |m| rename(m, Q_PROJ, "model.layers.0.self_attn.qkv_proj.weight"), "qkv_proj.weight` is none that LLaMA with dense linears has"),
    ("a norm of another length", Dense, |m| { let t = m.tensors.get_mut("model.norm.weight").unwrap(); t.shape[0] = 15; t.bytes.truncate(30) }, "`model.norm.weight` has shape [15], expected [16]"),
    ("floats for packed codes", Bitnet, |m| set_dtype(m, Q_PROJ, safetensors::Dtype::BF16), "linear `model.layers.0.self_attn.q_proj.weight` has floats (BF16), but the configuration promises packed"),
    ("masters announced as packed", BitnetMasters, |m| set_quantization(m, "quantization_mode", json!("offline")), "has floats (BF16), but the configuration promises packed"),
    ("packed announced as masters", Bitnet, |m| set_quantization(m, "quantization_mode", json!("online")), "has packed bytes, but the configuration promises floats"),
    ("packed and not announced at all", TernaryLlama, |m| drop(m.config.remove("quantization_config")), "has packed bytes, but the configuration promises floats (LLaMA with dense linears)"),
    ("codes as signed bytes", Bitnet, |m| set_dtype(m, Q_PROJ, safetensors::Dtype::I8), "q_proj.weight` has type I8, expected U8"),
    ("weights as eight-bit floats", Dense, |m| set_dtype(m, Q_PROJ, safetensors::Dtype::F8_E4M3), "q_proj.weight` has type F8_E4M3, expected F32, F16 or BF16"),
    ("a norm of integers", Dense, |m| set_dtype(m, "model.norm.weight", safetensors::Dtype::I64), "`model.norm.weight` has type I64, expected F32, F16 or BF16"),
    ("codes not packed", Bitnet, |m| { let t = m.tensors.get_mut(Q_PROJ).unwrap(); t.shape[0] = 16; t.bytes.resize(256, 0) }, "q_proj.weight` has shape [16, 16], expected [4, 16]"),
    ("a scale of 0", Bitnet, |m| set_scale(m, [0, 0]), "down_proj.weight_scale` is 0, expected a positive finite number"),
    ("a negative scale", Bitnet, |m| set_scale(m, [0x80, 0xbf]), "weight_scale` is -1, expected"),
    ("a scale of NaN", Bitnet, |m| set_scale(m, [0xc0, 0x7f]), "weight_scale` is NaN, expected"),
    ("an endless scale", Bitnet, |m| set_scale(m, [0x80, 0x7f]), "weight_scale` is inf, expected"),
    ("a scale for each row", Bitnet, |m| { let t = m.tensors.get_mut(SCALE).unwrap(); t.shape = vec![2]; t.bytes.resize(4, 0x3f) }, "weight_scale` has shape [2], expected [1]"),
];

#[test]
fn damaged_configurations_and_tensors_are_refused() {
    for (what, kind, damage, expected) in CONFIG.iter().chain(TENSORS) {
        let mut model = TinyModel::new(*kind);
        damage(&mut model);
        check_refused(what, &model.folder(), expected);
    }
}

// Side files as such.

const SIDE_FILES: &[FileDamage] = &[
    ("no configuration", |f| drop(f.files.remove("config.json")), "file `config.json` is missing"),
    (
        "a configuration that is not JSON",
        |f| replace(f, "config.json", b"{]"),
        "config.json: cannot be parsed: key must be a string",
    ),
    (
        "a configuration that is a list",
        |f| replace(f, "config.json", b"[]"),
        "config.json: cannot be parsed: found a list, expected an object",
    ),
    (
        "a configuration with NaN",
        |f| replace(f, "config.json", br#"{"rms_norm_eps": NaN}"#),
        "config.json: cannot be parsed: expected value",
    ),
    (
        "a number that overflows",
        |f| replace(f, "config.json", br#"{"rope_theta": 1e999}"#),
        "config.json: cannot be parsed: number out of range",
    ),
    (
        "a field twice",
        |f| replace(f, "config.json", br#"{"hidden_size":16,"hidden_size":32}"#),
        "config.json: cannot be parsed: key `hidden_size` occurs twice",
    ),
    (
        "100,000 brackets",
        |f| replace(f, "config.json", "[".repeat(100_000).as_bytes()),
        "config.json: cannot be parsed: recursion limit exceeded",
    ),
    (
        "a generation configuration that is not JSON",
        |f| replace(f, "generation_config.json", b""),
        "generation_config.json: cannot be parsed: EOF",
    ),
    (
        "an end token beyond the vocabulary",
        |f| replace(f, "generation_config.json", br#"{"eos_token_id":[300]}"#),
        "generation_config.json: field `eos_token_id` names token 300",
    ),
    ("no tokenizer", |f| drop(f.files.remove("tokenizer.json")), "file `tokenizer.json` is missing"),
    (
        "a tokenizer that is not JSON",
        |f| replace(f, "tokenizer.json", b"\xff"),
        "tokenizer.json: cannot be parsed: expected value",
    ),
    (
        "a tokenizer of 100,000 brackets",
        |f| replace(f, "tokenizer.json", "{\"a\":".repeat(100_000).as_bytes()),
        "tokenizer.json: cannot be parsed: recursion limit exceeded",
    ),
];

#[test]
fn damaged_side_files_are_refused() {
    for (what, damage, expected) in SIDE_FILES {
        let mut folder = TinyModel::new(Bitnet).folder();
        damage(&mut folder);
        check_refused(what, &folder, expected);
    }
}

// The tokenizer.

type TokenizerDamage = (&'static str, fn(&mut Value), &'static str);

/// A pattern to split by, in place of the tokenizer's own.
fn split(tokenizer: &mut Value, pattern: &str) {
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern.into();
}

/// Sequences in sequences.
fn nested(list: &str, depth: usize) -> Value {
    (0..depth).fold(json!({"type": "NFC"}), |inner, _| json!({"type": "Sequence", list: [inner]}))
}

#[rustfmt::skip]
const TOKENIZER: &[TokenizerDamage] = &[
    ("an unknown model", |t| t["model"]["type"] = json!("Magic"), "field `model.type` is \"Magic\", expected `BPE`"),
    ("a model of another kind", |t| t["model"]["type"] = json!("WordPiece"), "field `model.type` is \"WordPiece\", expected `BPE`"),
    ("no model", |t| drop(t.as_object_mut().unwrap().remove("model")), "field `model.type` is absent, expected `BPE`"),
    ("no vocabulary", |t| t["model"]["vocab"] = json!([]), "field `model.vocab` is a list, expected an object"),
    ("a token beyond the vocabulary", |t| t["model"]["vocab"]["zz"] = json!(300), "token `zz` has id 300, expected less than `vocab_size` of `config.json`, 300"),
    ("a token of 2^32", |t| t["model"]["vocab"]["zz"] = json!(1u64 << 32), "token `zz` has id 4294967296, expected less"),
    ("a negative token", |t| t["model"]["vocab"]["<0x-1>"] = json!(-1), "token `<0x-1>` has id -1, expected less"),
    ("a byte with a sign", |t| { t["model"]["byte_fallback"] = json!(true); t["model"]["vocab"]["<0x+1>"] = json!(299) }, "field `model.vocab` is a list with `<0x+1>`, expected names of bytes from `<0x00>` to `<0xFF>`"),
    ("a byte without digits that a decoder would take", |t| { t["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}]}); t["model"]["vocab"]["<0xzz>"] = json!(299) }, "is a list with `<0xzz>`, expected names of bytes"),
    ("two tokens of one id", |t| t["model"]["vocab"]["zz"] = json!(7), "has id 7, which another token has too"),
    ("a merge of no token", |t| t["model"]["merges"][0] = json!(["t", "zzz"]), "merge 0 of `t` and `zzz` needs token `zzz`"),
    ("a merge into no token", |t| t["model"]["merges"][7] = json!(["and", "and"]), "merge 7 of `and` and `and` needs token `andand`, which is not in `model.vocab`"),
    ("a merge longer than any token", |t| t["model"]["merges"][0] = json!(["ing", "ing"]), "needs token `inging`"),
    ("a merge of one", |t| t["model"]["merges"][1] = json!("the"), "field `model.merges[1]` is \"the\", expected a pair"),
    ("a merge of three", |t| t["model"]["merges"][1] = json!(["t", "h", "e"]), "field `model.merges[1]` is a list, expected a pair"),
    ("a prefix of continued words", |t| t["model"]["continuing_subword_prefix"] = json!("##"), "field `model.continuing_subword_prefix` is \"##\", expected null"),
    ("tokens at random", |t| t["model"]["dropout"] = json!(0.1), "field `model.dropout` is 0.1, expected null"),
    ("an unknown token that is unknown", |t| t["model"]["unk_token"] = json!("<unk>"), "field `model.unk_token` is \"<unk>\", expected a token"),
    ("an added token beyond the vocabulary", |t| t["added_tokens"][0]["id"] = json!(300), "token `<bos>` has id 300, expected less"),
    ("an added token with another's place", |t| t["added_tokens"][1]["id"] = json!(280), "added token `<eos>` is to have id 280, but would get Some(265)"),
    ("two added tokens of one id", |t| t["added_tokens"][1]["id"] = json!(264), "token `<eos>` has id 264, which another token has too"),
    ("an added token without text", |t| t["added_tokens"][0]["content"] = json!(""), "field `added_tokens[0].content` is \"\", expected a text"),
    ("an unknown normalizer", |t| t["normalizer"] = json!({"type": "Precompiled"}), "field `normalizer.type` is \"Precompiled\", expected `NFC`"),
    ("a normalizer that doubles the text 50 times", |t| t["normalizer"] = json!({"type": "Sequence", "normalizers": vec![json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}); 50]}), "expected replacements that make a text at most 16 times longer"),
    ("a normalizer by pattern", |t| { t["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}) }, "field `normalizer.pattern` is an object, expected a `String`"),
    ("a normalizer that inserts a book", |t| t["normalizer"] = json!({"type": "Prepend", "prepend": "x".repeat(100_000)}), "field `normalizer.prepend` is"),
    ("pipelines in pipelines", |t| t["normalizer"] = nested("normalizers", 30), "field `normalizer` is a larger pipeline, expected at most 32 components, 4 deep"),
    ("an unknown pre-tokenizer", |t| t["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0}), "field `pre_tokenizer.type` is \"FixedLength\""),
    ("an untyped pre-tokenizer", |t| t["pre_tokenizer"] = json!({"pretokenizers": []}), "field `pre_tokenizer.type` is absent"),
    ("a pattern that is wrong", |t| split(t, "(a"), "refused by the tokenizer library: "),
    ("a pattern of 100,000 groups", |t| split(t, &"(".repeat(100_000)), "field `pre_tokenizer.pretokenizers[0].pattern` is an object, expected a `Regex` or `String` of at most 1024 bytes"),
    ("a pattern of 10^9 states", |t| split(t, r"(?:(?:\p{L}{1000}){1000}){1000}"), "expected at most 8 repetitions of up to 16"),
    ("a pattern of 10^5 states", |t| split(t, r"(?:(?:\p{L}{16}){16}){16}"), "refused by the tokenizer library: "),
    ("a decoder that panics", |t| t["decoder"] = json!({"type": "Strip", "content": " ", "start": 0, "stop": 9}), "field `decoder.stop` is 9, expected 0"),
    ("an unknown decoder", |t| t["decoder"] = json!({"type": "CTC"}), "field `decoder.type` is \"CTC\""),
    ("a decoder that is a number", |t| t["decoder"] = json!(7), "field `decoder.type` is absent"),
    ("a template of an undefined token", |t| t["post_processor"]["special_tokens"] = json!({}), "`post_processor` inserts token `<bos>`, which its `special_tokens` do not define"),
    ("a template by another name", |t| t["post_processor"]["type"] = json!("ByteLevel"), "expected none of this name in `ByteLevel`"),
    ("a template without the text", |t| drop(t["post_processor"]["single"].as_array_mut().unwrap().pop()), "field `post_processor.single` is a list, expected a list with"),
    ("a template of the second text", |t| t["post_processor"]["single"][0] = json!({"Sequence": {"id": "B", "type_id": 0}}), "field `post_processor.single` is an object, expected a `SpecialToken`"),
    ("a template of 1000 tokens", |t| t["post_processor"]["special_tokens"]["<bos>"]["ids"] = json!(vec![264; 1000]), "is 1000 tokens, expected at most 64 tokens"),
    ("a template beyond the vocabulary", |t| t["post_processor"]["special_tokens"]["<bos>"]["ids"] = json!([300]), "token `<bos>` has id 300, expected less"),
    ("an unknown version", |t| t["version"] = json!("2.0"), "refused by the tokenizer library: Unknown tokenizer version"),
];

#[test]
fn damaged_tokenizers_are_refused() {
    for (what, damage, expected) in TOKENIZER {
        let mut model = TinyModel::new(Bitnet);
        damage(&mut model.tokenizer);
        check_refused(what, &model.folder(), expected);
    }
}

#[test]
fn a_pattern_that_explodes_fails_on_a_text_and_not_by_hanging() {
    let mut model = TinyModel::new(Bitnet);
    split(&mut model.tokenizer, r"(?:a+)+(?!a)b");
    let source = model.source();
    let config = Config::read(&source, &Checkpoint::open(&source).unwrap()).unwrap();
    let tokenizer = Tokenizer::read(&source, &config).unwrap();
    let message = tokenizer.encode(&"a".repeat(100), false).unwrap_err().to_string();
    assert!(message.contains("gave up at byte 0 of a piece of 100 bytes"), "{message}");
}

// What only a disk can have.

#[cfg(unix)]
#[test]
fn links_are_followed_and_must_lead_to_files() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let blobs = tempfile::tempdir().unwrap();
    // The cache of the Hugging Face Hub keeps every file as a link into another folder.
    for (name, bytes) in &TinyModel::new(Bitnet).folder().files {
        std::fs::write(blobs.path().join(name), bytes).unwrap();
        symlink(blobs.path().join(name), folder.path().join(name)).unwrap();
    }
    let source = Source::folder(folder.path()).unwrap();
    Checkpoint::open(&source).unwrap();

    let weights = folder.path().join(SINGLE_FILE);
    std::fs::remove_file(&weights).unwrap();
    symlink("/dev/zero", &weights).unwrap();
    let message = Checkpoint::open(&source).unwrap_err().to_string();
    assert!(message.contains("expected a regular file"), "{message}");

    std::fs::remove_file(&weights).unwrap();
    symlink(blobs.path().join("absent"), &weights).unwrap();
    let message = Checkpoint::open(&source).unwrap_err().to_string();
    assert!(message.contains("found no `model.safetensors`"), "{message}");
}
