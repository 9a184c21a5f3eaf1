"""Imports a llama2.c checkpoint as a Hugging Face model folder.

    python3 tools/import_llama2c.py CHECKPOINT OUT_FOLDER --tokenizer FILE

CHECKPOINT is llama2.c's first float format or the ternary format of bitllama2.c, told apart by the magic number; FILE
is SentencePiece's `tokenizer.model` or llama2.c's `tokenizer.bin`. Needs the standard library only. It copies weights;
it neither quantizes nor runs a model. All numbers are little-endian:

    header   i32 dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
    float    header; f32 tok_embeddings; for all layers of attention_norm, of wq, wk, wv, wo, ffn_norm, w1, w2, w3 in
             turn, their values; final norm; two tables of RoPE, unused; the output, if vocab_size is negative
    ternary  u32 magic, i32 version 1, header, u8 1, zeros up to byte 256; f32 final norm; f32 tok_embeddings; for all
             layers of wq, of wk, wv, wo, w1, w2, w3 in turn, one f32 scale and the rows, four weights to a byte, the
             first in the top two bits: 00 is 0, 01 is +1, 11 is -1

llama2.c rotates neighbouring pairs of a head, Hugging Face its two halves: the rows of q_proj and k_proj change places.
In a ternary layer the input is normalized to RMSNorm(x) / n, eps 0, for n inputs: the gain `rms_norm.weight` is 1 / n,
and the norms of the block, which change nothing in front of it, are ones.
"""

import argparse
import json
import math
import os
import shutil
import struct
import sys
import tempfile
from array import array
from pathlib import Path
from typing import NamedTuple

from sentencepiece_vocab import InvalidFile, read_vocab, tokenizer_json

TERNARY_MAGIC = 0x616B3432
TERNARY_VERSION = 1
TERNARY_HEADER_BYTES = 256
FLOAT_HEADER_BYTES = 28
LIMIT = 1 << 20  # no field of a header may be greater

RMS_NORM_EPS = 1e-5
ROPE_THETA = 10000.0
BOS_TOKEN_ID, EOS_TOKEN_ID = 1, 2

LINEARS = {  # in file order
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj",
    "w1": "mlp.gate_proj",
    "w2": "mlp.down_proj",
    "w3": "mlp.up_proj",
}
BITS_TO_CODE = {0b00: 1, 0b01: 2, 0b11: 0}  # code = weight + 1
VALID_BYTES = bytes(byte for byte in range(256) if all(byte >> shift & 3 != 0b10 for shift in (6, 4, 2, 0)))
BYTE_TO_CODES = {byte: bytes(BITS_TO_CODE[byte >> shift & 3] for shift in (6, 4, 2, 0)) for byte in VALID_BYTES}


class Tensor(NamedTuple):
    dtype: str
    shape: list
    data: bytes


class Header(NamedTuple):
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_position_embeddings: int

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def linear_shape(self, name):
        """[rows, columns] of a linear layer, by its llama2.c name."""
        hidden, intermediate = self.hidden_size, self.intermediate_size
        key_value = self.num_key_value_heads * self.head_dim
        if name in ("wk", "wv"):
            return [key_value, hidden]
        if name in ("w1", "w3"):
            return [intermediate, hidden]
        return [hidden, intermediate] if name == "w2" else [hidden, hidden]


class Cursor:
    """The checkpoint's bytes and a place in them; its size has been checked when values are taken."""

    def __init__(self, path, data):
        self.path = path
        self.data = memoryview(data)
        self.at = 0

    def bytes(self, length):
        self.at += length
        return self.data[self.at - length : self.at]

    def floats(self, field, shape):
        data = self.bytes(4 * math.prod(shape))
        values = array("f")
        values.frombytes(data)
        if sys.byteorder == "big":
            values.byteswap()
        if not math.isfinite(sum(values)):  # a float64 sum of float32 values overflows only if one of them did
            at = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise InvalidFile(self.path, f"{field}, value {at}", values[at], "a finite number")
        return Tensor("F32", shape, data)

    def check_size(self, expected):
        if len(self.data) != expected:
            raise InvalidFile(self.path, "size", f"{len(self.data)} bytes", f"{expected} by the header")


def read_checkpoint(path):
    """The header, the tensors by Hugging Face name, and whether the checkpoint is ternary."""
    cursor = Cursor(path, path.read_bytes())
    if len(cursor.data) < FLOAT_HEADER_BYTES:
        raise InvalidFile(path, "header", f"{len(cursor.data)} bytes", f"at least {FLOAT_HEADER_BYTES}")
    (magic,) = struct.unpack_from("<I", cursor.data)
    if magic == TERNARY_MAGIC:
        return *read_ternary(cursor), True
    if magic > LIMIT:
        raise InvalidFile(path, "magic", f"{magic:#010x}", f"{TERNARY_MAGIC:#010x}, or a dim of at most {LIMIT}")
    return *read_float(cursor), False


def read_header(cursor):
    header = Header(*struct.unpack("<7i", cursor.bytes(28)))
    is_tied = header.vocab_size > 0
    header = header._replace(vocab_size=abs(header.vocab_size))
    for field, value in header._asdict().items():
        if not 1 <= value <= LIMIT:
            raise InvalidFile(cursor.path, field, value, f"1 to {LIMIT}")
    if header.hidden_size % (2 * header.num_attention_heads) != 0:
        raise InvalidFile(
            cursor.path, "hidden_size", header.hidden_size, f"a multiple of 2 * {header.num_attention_heads} heads"
        )
    if header.num_attention_heads % header.num_key_value_heads != 0:
        expected = f"a divisor of {header.num_attention_heads} heads"
        raise InvalidFile(cursor.path, "num_key_value_heads", header.num_key_value_heads, expected)
    return header, is_tied


def read_float(cursor):
    header, is_tied = read_header(cursor)
    hidden, layers = header.hidden_size, header.num_hidden_layers
    embedding_shape = [header.vocab_size, hidden]
    rope_floats = header.max_position_embeddings * header.head_dim
    layer_floats = 2 * hidden + sum(math.prod(header.linear_shape(name)) for name in LINEARS)
    floats = (1 if is_tied else 2) * math.prod(embedding_shape) + layers * layer_floats + hidden + rope_floats
    cursor.check_size(FLOAT_HEADER_BYTES + 4 * floats)

    tensors = {"model.embed_tokens.weight": cursor.floats("tok_embeddings", embedding_shape)}
    shapes = {"attention_norm": [hidden], **{name: header.linear_shape(name) for name in LINEARS}}
    order = ["attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3"]
    names = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", **LINEARS}
    for name in order:
        for layer in range(layers):
            tensor = cursor.floats(f"layer {layer} {name}", shapes.get(name, [hidden]))
            if name in ("wq", "wk"):
                tensor = tensor._replace(data=halves_from_pairs(tensor.data, tensor.shape[0], header.head_dim))
            tensors[f"model.layers.{layer}.{names[name]}.weight"] = tensor
    tensors["model.norm.weight"] = cursor.floats("final norm", [hidden])
    cursor.bytes(4 * rope_floats)
    if not is_tied:
        tensors["lm_head.weight"] = cursor.floats("output", embedding_shape)
    return header, tensors


def read_ternary(cursor):
    path = cursor.path
    if len(cursor.data) < TERNARY_HEADER_BYTES:
        raise InvalidFile(path, "header", f"{len(cursor.data)} bytes", f"at least {TERNARY_HEADER_BYTES}")
    _, version = struct.unpack("<Ii", cursor.bytes(8))
    if version != TERNARY_VERSION:
        raise InvalidFile(path, "version", version, TERNARY_VERSION)
    header, _ = read_header(cursor)
    if cursor.bytes(1)[0] != 1:
        raise InvalidFile(path, "shared classifier", cursor.data[cursor.at - 1], "1, a tied embedding")
    shapes = {name: header.linear_shape(name) for name in LINEARS}
    for name, (rows, columns) in shapes.items():
        if rows % 4 != 0 or columns % 4 != 0:
            raise InvalidFile(path, f"shape of {name}", [rows, columns], "multiples of 4")
    hidden, layers = header.hidden_size, header.num_hidden_layers
    embedding_shape = [header.vocab_size, hidden]
    linear_bytes = sum(4 + math.prod(shape) // 4 for shape in shapes.values())
    cursor.check_size(TERNARY_HEADER_BYTES + 4 * (hidden + math.prod(embedding_shape)) + layers * linear_bytes)

    cursor.at = TERNARY_HEADER_BYTES
    tensors = {
        "model.norm.weight": cursor.floats("final norm", [hidden]),
        "model.embed_tokens.weight": cursor.floats("tok_embeddings", embedding_shape),
    }
    for layer in range(layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = constant(1.0, hidden)
    for name, (rows, columns) in shapes.items():
        for layer in range(layers):
            linear = f"model.layers.{layer}.{LINEARS[name]}"
            field = f"layer {layer} {name}"
            tensors[f"{linear}.weight_scale"] = cursor.floats(f"{field} scale", [1])
            codes = read_codes(cursor, field, rows, columns)
            if name in ("wq", "wk"):
                codes = halves_from_pairs(codes, rows, header.head_dim)
            tensors[f"{linear}.weight"] = Tensor("U8", [rows // 4, columns], pack(codes))
            tensors[f"{linear}.rms_norm.weight"] = constant(1.0 / columns, columns)
    return header, tensors


def read_codes(cursor, field, rows, columns):
    """The codes (weight + 1) of a matrix, one to a byte, row after row."""
    packed = bytes(cursor.bytes(rows * columns // 4))
    invalid = packed.translate(None, VALID_BYTES)
    if invalid:
        at = packed.index(invalid[0])
        place = f"{field}, row {4 * at // columns}, columns from {4 * at % columns}"
        raise InvalidFile(cursor.path, place, f"byte {invalid[0]:#010b}", "pairs of bits 00, 01 or 11")
    return b"".join(map(BYTE_TO_CODES.__getitem__, packed))


def halves_from_pairs(data, rows, head_dim):
    """Moves row 2i + h of each head to row i + h * head_dim / 2."""
    row_bytes = len(data) // rows
    order = (
        head + 2 * i + half for head in range(0, rows, head_dim) for half in (0, 1) for i in range(head_dim // 2)
    )
    return b"".join(data[row * row_bytes : (row + 1) * row_bytes] for row in order)


def pack(codes):
    """Four planes of rows to a byte, the first quarter of the rows in the lowest bits.

    A code is below 4, so a whole plane shifts as one integer without reaching into its neighbours.
    """
    quarter = len(codes) // 4
    planes = (int.from_bytes(codes[i * quarter : (i + 1) * quarter], "little") << 2 * i for i in range(4))
    return sum(planes).to_bytes(quarter, "little")


def constant(value, length):
    return Tensor("F32", [length], struct.pack("<f", value) * length)


def config_json(header, is_ternary, is_tied):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **header._asdict(),
        "hidden_act": "silu",
        "rms_norm_eps": RMS_NORM_EPS,
        "rope_theta": ROPE_THETA,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": is_tied,
        "bos_token_id": BOS_TOKEN_ID,
        "eos_token_id": EOS_TOKEN_ID,
        "torch_dtype": "float32",
    }
    if is_ternary:
        config["quantization_config"] = {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
            "use_rms_norm": True,
            "rms_norm_eps": 0.0,
            "modules_to_not_convert": None,
        }
    return config


def write_safetensors(path, tensors):
    """u64 header length, JSON header padded to 8 bytes, then the data: wider types first, so that all are aligned."""
    ordered = sorted(tensors.items(), key=lambda item: (item[1].dtype != "F32", item[0]))
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in ordered:
        end = offset + len(tensor.data)
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.writelines(tensor.data for _, tensor in ordered)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def import_checkpoint(checkpoint, tokenizer, out):
    """Writes the folder `out`; its files appear whole, `config.json` last, and none if anything is wrong."""
    header, tensors, is_ternary = read_checkpoint(checkpoint)
    pieces = read_vocab(tokenizer)
    if len(pieces) != header.vocab_size:
        raise InvalidFile(tokenizer, "tokens", len(pieces), f"{header.vocab_size}, the vocab_size of {checkpoint}")

    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write_safetensors(partial / "model.safetensors", tensors)
        write_json(partial / "tokenizer.json", tokenizer_json(pieces))
        write_json(
            partial / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "model_max_length": header.max_position_embeddings,
                "clean_up_tokenization_spaces": False,
            },
        )
        write_json(
            partial / "generation_config.json", {"bos_token_id": BOS_TOKEN_ID, "eos_token_id": EOS_TOKEN_ID}
        )
        write_json(partial / "config.json", config_json(header, is_ternary, "lm_head.weight" not in tensors))
        out.mkdir(exist_ok=True)
        for file in sorted(partial.iterdir(), key=lambda file: file.name == "config.json"):
            os.replace(file, out / file.name)
    finally:
        shutil.rmtree(partial)
    kind = "ternary" if is_ternary else "float"
    print(f"{out}: {kind} LlamaForCausalLM, {len(tensors)} tensors, {header.vocab_size} tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FILE")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    args = parser.parse_args()
    try:
        if args.out.is_dir() and any(args.out.iterdir()) and not args.force:
            raise FileExistsError(f"{args.out}: the folder is not empty; --force replaces its model files")
        import_checkpoint(args.checkpoint, args.tokenizer, args.out)
    except (InvalidFile, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
