"""Tests of import_llama2c.py and sentencepiece_vocab.py on tiny checkpoints made here.

    python3 -m unittest discover tools
"""

import contextlib
import io
import json
import math
import random
import struct
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import import_llama2c
from sentencepiece_vocab import FIXED_TOKENS, SPACE

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, SEQ_LEN = 8, 12, 2, 2, 1, 16
HEAD_DIM = DIM // HEADS
PIECES = ["ab", "abc", "bc", SPACE + "a", "a", "b", "c", SPACE]  # pairs first, as SentencePiece orders them
VOCAB = len(FIXED_TOKENS) + len(PIECES)
SHAPES = {
    "wq": (DIM, DIM),
    "wk": (KV_HEADS * HEAD_DIM, DIM),
    "wv": (KV_HEADS * HEAD_DIM, DIM),
    "wo": (DIM, DIM),
    "w1": (HIDDEN, DIM),
    "w2": (DIM, HIDDEN),
    "w3": (HIDDEN, DIM),
}


def header(vocab_size=VOCAB, n_heads=HEADS):
    return struct.pack("<7i", DIM, HIDDEN, LAYERS, n_heads, KV_HEADS, vocab_size, SEQ_LEN)


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


class Checkpoint:
    """Random weights, and the bytes of both formats that hold them."""

    def __init__(self, seed=1):
        rng = random.Random(seed)
        self.embedding = [rng.randrange(-99, 99) / 64 for _ in range(VOCAB * DIM)]
        self.norms = [[rng.randrange(1, 99) / 64 for _ in range(DIM)] for _ in range(2 * LAYERS + 1)]
        self.rows = {  # integers, so that both formats hold them; [layer][row][column]
            name: [[[rng.randrange(-1, 2) for _ in range(n)] for _ in range(m)] for _ in range(LAYERS)]
            for name, (m, n) in SHAPES.items()
        }
        self.scales = {name: [rng.randrange(1, 99) / 64 for _ in range(LAYERS)] for name in SHAPES}

    def linear(self, name):
        return [value for layer in self.rows[name] for row in layer for value in row]

    def float_bytes(self, is_tied=True):
        attention_norms = sum(self.norms[:LAYERS], [])
        ffn_norms = sum(self.norms[LAYERS : 2 * LAYERS], [])
        values = list(self.embedding) + attention_norms
        values += [value for name in ("wq", "wk", "wv", "wo") for value in self.linear(name)] + ffn_norms
        values += [value for name in ("w1", "w2", "w3") for value in self.linear(name)] + self.norms[-1]
        values += [0.0] * (SEQ_LEN * HEAD_DIM)
        if not is_tied:
            values += self.embedding[::-1]
        return header(VOCAB if is_tied else -VOCAB) + floats(values)

    def ternary_bytes(self):
        data = struct.pack("<Ii", import_llama2c.TERNARY_MAGIC, 1) + header() + b"\1"
        data = data.ljust(256, b"\0") + floats(self.norms[-1]) + floats(self.embedding)
        for name in SHAPES:
            for layer in range(LAYERS):
                data += floats([self.scales[name][layer]])
                for row in self.rows[name][layer]:
                    bits = [value & 3 for value in row]
                    data += bytes(a << 6 | b << 4 | c << 2 | d for a, b, c, d in zip(*[iter(bits)] * 4))
        return data


def vocab_bin(pieces=PIECES):
    texts = ["<unk>", "\n<s>\n", "\n</s>\n"] + FIXED_TOKENS[3:] + [piece.replace(SPACE, " ") for piece in pieces]
    data = struct.pack("<I", max(map(len, texts)))
    for i, text in enumerate(texts):
        data += struct.pack("<fi", float(min(0, len(FIXED_TOKENS) - i)), len(text.encode())) + text.encode()
    return data


def protobuf_bytes(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def protobuf_int(number, value):
    return varint(number << 3) + varint(value)


def varint(value):
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def vocab_model(model_type=2):
    data = b""
    for i, text in enumerate(FIXED_TOKENS + PIECES):
        score = struct.pack("<f", float(min(0, len(FIXED_TOKENS) - i)))
        piece = protobuf_bytes(1, text.encode()) + varint(2 << 3 | 5) + score
        if i < len(FIXED_TOKENS):
            piece += protobuf_int(3, {0: 2, 1: 3, 2: 3}.get(i, 6))
        data += protobuf_bytes(1, piece)
    return data + protobuf_bytes(2, protobuf_int(3, model_type) + protobuf_int(35, 1))


def read_safetensors(path):
    """The values of each tensor, row-major, with U8 weights unpacked, by name."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "F32":
            tensors[name] = list(struct.unpack(f"<{math.prod(entry['shape'])}f", data[begin:end]))
        else:
            rows, columns = entry["shape"]
            assert end - begin == rows * columns
            tensors[name] = [(byte >> shift & 3) - 1 for shift in (0, 2, 4, 6) for byte in data[begin:end]]
    return tensors


def rotate_half_rows(rows):
    """Rows of neighbouring pairs as rows of halves, by definition: new row i + h * head_dim / 2 is old row 2i + h."""
    result = [None] * len(rows)
    for head in range(0, len(rows), HEAD_DIM):
        for i in range(HEAD_DIM // 2):
            for half in (0, 1):
                result[head + i + half * HEAD_DIM // 2] = rows[head + 2 * i + half]
    return [value for row in result for value in row]


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out"

    def run_import(self, checkpoint, vocab=None, *options):
        """The exit code and what was written to stderr."""
        (self.folder / "model.bin").write_bytes(checkpoint)
        (self.folder / "vocab").write_bytes(vocab_bin() if vocab is None else vocab)
        arguments = [str(self.folder / "model.bin"), str(self.out), "--tokenizer", str(self.folder / "vocab"), *options]
        errors = io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["import_llama2c.py", *arguments]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(errors),
        ):
            return import_llama2c.main(), errors.getvalue()

    def read_json(self, name):
        return json.loads((self.out / name).read_text(encoding="utf-8"))

    def check_error(self, expected, checkpoint, vocab=None):
        code, message = self.run_import(checkpoint, vocab)
        self.assertEqual(code, 1)
        self.assertIn(expected, message)
        self.assertEqual(sorted(file.name for file in self.folder.iterdir()), ["model.bin", "vocab"])


class Weights(Case):
    def test_ternary_weights_scales_and_norms_are_kept(self):
        checkpoint = Checkpoint()
        self.assertEqual(self.run_import(checkpoint.ternary_bytes()), (0, ""))
        tensors = read_safetensors(self.out / "model.safetensors")
        self.assertEqual(tensors.pop("model.embed_tokens.weight"), checkpoint.embedding)
        self.assertEqual(tensors.pop("model.norm.weight"), checkpoint.norms[-1])
        for layer in range(LAYERS):
            block = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                self.assertEqual(tensors.pop(f"{block}{norm}.weight"), [1.0] * DIM)
            for name, (_, columns) in SHAPES.items():
                linear = block + import_llama2c.LINEARS[name]
                rows = checkpoint.rows[name][layer]
                weight = rotate_half_rows(rows) if name in ("wq", "wk") else sum(rows, [])
                self.assertEqual(tensors.pop(f"{linear}.weight"), weight)
                self.assertEqual(tensors.pop(f"{linear}.weight_scale"), [checkpoint.scales[name][layer]])
                gain = struct.unpack("<f", struct.pack("<f", 1 / columns))[0]
                self.assertEqual(tensors.pop(f"{linear}.rms_norm.weight"), [gain] * columns)
        self.assertEqual(tensors, {})
        self.assertTrue(self.read_json("config.json")["quantization_config"]["use_rms_norm"])

    def check_float(self, checkpoint, is_tied):
        self.assertEqual(self.run_import(checkpoint.float_bytes(is_tied)), (0, ""))
        tensors = read_safetensors(self.out / "model.safetensors")
        self.assertEqual(tensors.pop("model.embed_tokens.weight"), checkpoint.embedding)
        self.assertEqual(tensors.pop("model.norm.weight"), checkpoint.norms[-1])
        for layer in range(LAYERS):
            block = f"model.layers.{layer}."
            self.assertEqual(tensors.pop(f"{block}input_layernorm.weight"), checkpoint.norms[layer])
            self.assertEqual(tensors.pop(f"{block}post_attention_layernorm.weight"), checkpoint.norms[LAYERS + layer])
            for name in SHAPES:
                rows = checkpoint.rows[name][layer]
                weight = rotate_half_rows(rows) if name in ("wq", "wk") else sum(rows, [])
                self.assertEqual(tensors.pop(f"{block}{import_llama2c.LINEARS[name]}.weight"), weight)
        config = self.read_json("config.json")
        self.assertNotIn("quantization_config", config)
        self.assertEqual(config["tie_word_embeddings"], is_tied)
        return tensors

    def test_float_weights_are_kept(self):
        self.assertEqual(self.check_float(Checkpoint(), is_tied=True), {})

    def test_an_untied_output_is_kept(self):
        checkpoint = Checkpoint()
        tensors = self.check_float(checkpoint, is_tied=False)
        self.assertEqual(tensors, {"lm_head.weight": checkpoint.embedding[::-1]})

    def test_the_header_becomes_the_config(self):
        self.run_import(Checkpoint().ternary_bytes())
        config = self.read_json("config.json")
        names = import_llama2c.Header._fields
        self.assertEqual([config[name] for name in names], [DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, SEQ_LEN])

    def test_the_safetensors_data_is_aligned(self):
        self.run_import(Checkpoint().ternary_bytes())
        (length,) = struct.unpack_from("<Q", (self.out / "model.safetensors").read_bytes())
        self.assertEqual(length % 8, 0)


class Tokenizer(Case):
    def test_bin_and_model_make_the_same_tokenizer(self):
        self.run_import(Checkpoint().float_bytes(), vocab_bin())
        from_bin = self.read_json("tokenizer.json")
        self.run_import(Checkpoint().float_bytes(), vocab_model(), "--force")
        self.assertEqual(self.read_json("tokenizer.json"), from_bin)

    def test_ids_are_kept_and_merges_follow_the_scores(self):
        self.run_import(Checkpoint().float_bytes())
        model = self.read_json("tokenizer.json")["model"]
        self.assertEqual(list(model["vocab"]), FIXED_TOKENS + PIECES)
        self.assertEqual(list(model["vocab"].values()), list(range(VOCAB)))
        merges = [["a", "b"], ["a", "bc"], ["ab", "c"], ["b", "c"], [SPACE, "a"]]
        self.assertEqual(model["merges"], merges)


class Errors(Case):
    def test_a_truncated_file_is_an_error(self):
        for data in (Checkpoint().ternary_bytes(), Checkpoint().float_bytes()):
            expected = f"model.bin: size: found {len(data) - 1} bytes, expected {len(data)}"
            self.check_error(expected, data[:-1])
            self.check_error("header: found 9 bytes", data[:9])
        self.check_error("header: found 99 bytes", Checkpoint().ternary_bytes()[:99])

    def test_a_file_too_long_is_an_error(self):
        self.check_error("size: found", Checkpoint().float_bytes() + b"\0")

    def test_an_unknown_magic_is_an_error(self):
        self.check_error("magic: found 0x46554747", b"GGUF" + bytes(100))

    def test_an_unknown_version_is_an_error(self):
        data = bytearray(Checkpoint().ternary_bytes())
        data[4] = 2
        self.check_error("version: found 2, expected 1", data)

    def test_an_untied_ternary_file_is_an_error(self):
        data = bytearray(Checkpoint().ternary_bytes())
        data[36] = 0
        self.check_error("shared classifier: found 0", data)

    def test_an_impossible_header_is_an_error(self):
        rest = Checkpoint().float_bytes()[28:]
        self.check_error("num_attention_heads: found 0", header(n_heads=0) + rest)
        self.check_error("hidden_size: found 8, expected a multiple of 2 * 3 heads", header(n_heads=3) + rest)

    def test_code_10_is_an_error(self):
        data = bytearray(Checkpoint().ternary_bytes())
        data[-2] = 0b00_01_10_11
        self.check_error("layer 1 w3, row 11, columns from 0: found byte 0b00011011", data)

    def test_a_value_that_is_not_finite_is_an_error(self):
        data = bytearray(Checkpoint().ternary_bytes())
        data[256 + 8 : 256 + 12] = floats([math.nan])
        self.check_error("final norm, value 2: found nan", data)
        data = bytearray(Checkpoint().float_bytes())
        data[28:36] = floats([math.inf, -math.inf])
        self.check_error("tok_embeddings, value 0: found inf", data)

    def test_a_vocabulary_of_another_size_is_an_error(self):
        self.check_error(f"tokens: found {VOCAB - 1}, expected {VOCAB}", Checkpoint().float_bytes(), vocab_bin(PIECES[1:]))

    def test_a_damaged_vocabulary_is_an_error(self):
        data = Checkpoint().float_bytes()
        self.check_error("token 266: found length 1", data, vocab_bin()[:-1])
        self.check_error("protobuf field 2: found", data, vocab_model()[:-1])
        self.check_error("tokens: found 0", data, b"")
        self.check_error("token 260: found 'ab' as token 259", data, vocab_bin(["ab", "ab"]))
        self.check_error("token 5: found '<0xFF>'", data, vocab_bin().replace(b"<0x02>", b"<0xFF>"))
        self.check_error("token 3: found b'\\xff", data, vocab_bin().replace(b"<0x00>", b"\xff0x00>"))

    def test_a_unigram_vocabulary_is_an_error(self):
        self.check_error("trainer_spec.model_type: found 1, expected 2", Checkpoint().float_bytes(), vocab_model(1))

    def test_a_missing_file_is_an_error(self):
        self.run_import(Checkpoint().float_bytes())
        with contextlib.redirect_stderr(io.StringIO()) as errors, mock.patch.object(
            sys, "argv", ["import_llama2c.py", "missing.bin", str(self.folder / "new"), "--tokenizer", "missing"]
        ):
            self.assertEqual(import_llama2c.main(), 1)
        self.assertIn("missing.bin", errors.getvalue())

    def test_a_full_folder_is_kept_unless_forced(self):
        self.out.mkdir()
        (self.out / "config.json").write_text("mine")
        (self.out / "notes").write_text("mine")
        code, message = self.run_import(Checkpoint().float_bytes())
        self.assertEqual(code, 1)
        self.assertIn("not empty", message)
        self.assertEqual((self.out / "config.json").read_text(), "mine")
        self.assertEqual(self.run_import(Checkpoint().float_bytes(), None, "--force"), (0, ""))
        self.assertEqual(self.read_json("config.json")["model_type"], "llama")
        self.assertEqual((self.out / "notes").read_text(), "mine")


if __name__ == "__main__":
    unittest.main()
