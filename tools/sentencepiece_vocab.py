"""Reads a SentencePiece BPE vocabulary and turns it into the contents of a `tokenizer.json`.

Reads SentencePiece's `tokenizer.model` (a protobuf, parsed here) and llama2.c's `tokenizer.bin`. Only the LLaMA kind is
known: BPE, byte fallback, an added leading space and no other normalization; ids 0 to 2 are <unk>, <s> and </s>, 3 to
258 the bytes. It knows nothing of models and encodes no text. As in transformers, runs of spaces stay as they are also
where the file has `remove_extra_whitespaces`, which a `tokenizer.bin` could not say.

    tokenizer.bin    u32 longest token; for each token f32 score, i32 length, bytes with a space for ▁
    tokenizer.model  ModelProto: 1 pieces {1 piece, 2 score, 3 type}, 2 trainer_spec, 3 normalizer_spec
"""

import struct
from typing import NamedTuple

SPACE = "▁"
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>"]
FIXED_TOKENS = SPECIAL_TOKENS + [f"<0x{byte:02X}>" for byte in range(256)]

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
# The fields read of each message, with their wire types.
MODEL_PROTO = {1: LENGTH_DELIMITED, 2: LENGTH_DELIMITED, 3: LENGTH_DELIMITED}
PIECE = {1: LENGTH_DELIMITED, 2: FIXED32, 3: VARINT}
TRAINER_SPEC = {3: VARINT, 35: VARINT}
NORMALIZER_SPEC = {2: LENGTH_DELIMITED, 3: VARINT, 5: VARINT}

TYPE_NORMAL, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_BYTE = 1, 2, 3, 6
MODEL_TYPE_BPE = 2


class InvalidFile(Exception):
    """What is wrong with an input file: which field, what was found, what was expected."""

    def __init__(self, path, field, found, expected):
        super().__init__(f"{path}: {field}: found {found}, expected {expected}")


class Piece(NamedTuple):
    text: str
    score: float


def read_vocab(path):
    """The pieces of a `tokenizer.model` or a `tokenizer.bin`, in the order of their ids."""
    data = path.read_bytes()
    # A protobuf opens with the tag of its first piece and a length; a .bin with a token length below 256.
    is_protobuf = data[:1] == b"\x0a" and data[1:4] != b"\0\0\0"
    pieces = read_model(path, data) if is_protobuf else read_bin(path, data)
    ids = {}
    for i, piece in enumerate(pieces):
        if i < len(FIXED_TOKENS) and piece.text != FIXED_TOKENS[i]:
            raise InvalidFile(path, f"token {i}", repr(piece.text), repr(FIXED_TOKENS[i]))
        if ids.setdefault(piece.text, i) != i:
            raise InvalidFile(path, f"token {i}", f"{piece.text!r} as token {ids[piece.text]} is", "another text")
    return pieces


def read_bin(path, data):
    pieces = []
    at = 4
    while at < len(data):
        field = f"token {len(pieces)}"
        if at + 8 > len(data):
            raise InvalidFile(path, field, f"{len(data) - at} bytes", "8 of score and length")
        score, length = struct.unpack_from("<fi", data, at)
        at += 8
        if not 0 <= length <= len(data) - at:
            raise InvalidFile(path, field, f"length {length}", f"at most the {len(data) - at} bytes left")
        text = decode_utf8(path, field, data[at : at + length])
        at += length
        # llama2.c writes the special tokens between line ends.
        text = text.strip() if len(pieces) < len(SPECIAL_TOKENS) else text.replace(" ", SPACE)
        pieces.append(Piece(text, score))
    if len(pieces) < len(FIXED_TOKENS):
        raise InvalidFile(path, "tokens", len(pieces), f"at least {len(FIXED_TOKENS)}")
    return pieces


def read_model(path, data):
    pieces, trainer, normalizer = [], {}, {}
    for number, value in protobuf_fields(path, data, MODEL_PROTO):
        if number == 1:
            pieces.append(read_piece(path, len(pieces), dict(protobuf_fields(path, value, PIECE))))
        elif number == 2:
            trainer = dict(protobuf_fields(path, value, TRAINER_SPEC))
        elif number == 3:
            normalizer = dict(protobuf_fields(path, value, NORMALIZER_SPEC))
    for field, found, expected in [
        ("trainer_spec.model_type", trainer.get(3, 1), MODEL_TYPE_BPE),
        ("trainer_spec.byte_fallback", trainer.get(35, 0), 1),
        ("normalizer_spec.precompiled_charsmap", len(normalizer.get(2, b"")), 0),
        ("normalizer_spec.add_dummy_prefix", normalizer.get(3, 1), 1),
        ("normalizer_spec.escape_whitespaces", normalizer.get(5, 1), 1),
    ]:
        if found != expected:
            raise InvalidFile(path, field, found, expected)
    if len(pieces) < len(FIXED_TOKENS):
        raise InvalidFile(path, "pieces", len(pieces), f"at least {len(FIXED_TOKENS)}")
    return pieces


def read_piece(path, i, fields):
    if i == 0:
        expected = TYPE_UNKNOWN
    elif i < len(SPECIAL_TOKENS):
        expected = TYPE_CONTROL
    elif i < len(FIXED_TOKENS):
        expected = TYPE_BYTE
    else:
        expected = TYPE_NORMAL
    if fields.get(3, TYPE_NORMAL) != expected:
        raise InvalidFile(path, f"piece {i}", f"type {fields.get(3, TYPE_NORMAL)}", f"type {expected}")
    (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
    return Piece(decode_utf8(path, f"piece {i}", fields.get(1, b"")), score)


def decode_utf8(path, field, data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidFile(path, field, data, "UTF-8") from None


def protobuf_fields(path, data, wire_types):
    """The (number, value) pairs of the fields in `wire_types`: an int for a varint, bytes for anything else."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise InvalidFile(path, f"protobuf byte {at}", "an unfinished varint", "its end")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, wire_type = divmod(varint(), 8)
        field = f"protobuf field {number}"
        if wire_type != wire_types.get(number, wire_type):
            raise InvalidFile(path, field, f"wire type {wire_type}", wire_types[number])
        if wire_type == VARINT:
            value = varint()
        else:
            if wire_type == LENGTH_DELIMITED:
                length = varint()
            elif wire_type in (FIXED32, FIXED64):
                length = 4 if wire_type == FIXED32 else 8
            else:
                raise InvalidFile(path, field, f"wire type {wire_type}", "0, 1, 2 or 5")
            if length > len(data) - at:
                raise InvalidFile(path, field, f"{len(data) - at} bytes", length)
            value = data[at : at + length]
            at += length
        if number in wire_types:
            yield number, value


def merges(pieces):
    """All pairs of pieces that make up a piece, best score first.

    As transformers' SentencePieceExtractor does; of one piece's pairs the one with the shorter left side goes first.
    """
    mergeable = {piece.text: i for i, piece in enumerate(pieces) if i >= len(FIXED_TOKENS)}
    pairs = [
        (-pieces[i].score, cut, text[:cut], text[cut:])
        for text, i in mergeable.items()
        for cut in range(1, len(text))
        if text[:cut] in mergeable and text[cut:] in mergeable
    ]
    pairs.sort(key=lambda pair: pair[:2])
    return [[left, right] for _, _, left, right in pairs]


def tokenizer_json(pieces):
    """The `tokenizer.json` of a LLaMA 2 tokenizer: BOS in front, bytes for unknown characters."""
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, token in enumerate(SPECIAL_TOKENS)
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                bos,
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<s>", "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.text: i for i, piece in enumerate(pieces)},
            "merges": merges(pieces),
        },
    }
