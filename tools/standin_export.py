"""Writes a training checkpoint as a Hugging Face folder: packed ternary weights, tokenizer, configs, model card.

Knows the files; the rules of quantization are standin_model's. A linear layer is stored as transformers' `bitnet`
quantizer stores one, class `autobitlinear`, mode `offline`:

    weight        U8 [rows / 4, columns]; row r is in byte row r mod (rows / 4), bits 2 * (r div (rows / 4)); value + 1
    weight_scale  F32 [1]; real = integer * scale
"""

import json
import os
import shutil
from dataclasses import asdict

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from standin_model import BitLinear, BitNet, Config, absmean, generate

END_OF_TEXT_ID = 0

CARD = """\
---
datasets: [roneneldan/TinyStories]
tags: [bitnet, ternary, text-generation]
language: en
---
# Stories: a small BitNet b1.58 model

A model of {parameters:,} parameters, {ternary:,} of them ternary, in the architecture of BitNet b1.58 2B4T: {layers}
layers, hidden size {hidden}, {vocab} tokens, a context of {context}. It continues stories: give it the first words of
a children's story. It is there to try and to test a toolkit with, and small enough to come along with it. At
temperature 0.8:

{sample}

| | |
|---|---|
| text | {corpus_stories:,} stories ({corpus_tokens:,} tokens) of TinyStories (Eldan and Li, 2023), of both versions; licence of the data: CDLA-Sharing-1.0 |
| training | quantization-aware from scratch: {tokens:,} tokens ({epochs:.0f} passes) in {minutes:.0f} minutes of two CPU cores |
| script | `tools/train_standin.py` |
| validation | {bits:.4f} bits per byte on the first 0.4 MB of TinyStories' validation split, each paragraph on its own |

The checkpoint with the best validation figure was kept, so that figure is a little flattering. Weights are
absmean-ternary, activations absmax-int8 a token, the embedding, which is also the output, bfloat16, the norms float32.

Limits: it knows simple English words and the plots of the stories it saw, and nothing else. It loses the thread after
some sentences, mixes up names, follows no instructions and has not been filtered or aligned in any way.

In Python, with transformers 5, which leaves the embedding of such a model as it is stored:

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.model.embed_tokens.float()
"""


def pack(ternary):
    """Four planes of rows to a byte; see the module's description."""
    planes = (ternary + 1).to(torch.uint8).view(4, -1, ternary.shape[1])
    return planes[0] | planes[1] << 2 | planes[2] << 4 | planes[3] << 6


def tensors(model):
    """The tensors of `model.safetensors` by name."""
    stored = {}
    for name, module in model.named_modules():
        if isinstance(module, BitLinear):
            ternary, scale = absmean(module.weight.detach())
            stored[f"model.{name}.weight"] = pack(ternary)
            stored[f"model.{name}.weight_scale"] = scale.reshape(1)
        elif isinstance(module, torch.nn.Embedding):
            stored[f"model.{name}.weight"] = module.weight.detach().bfloat16()
        elif hasattr(module, "weight"):
            stored[f"model.{name}.weight"] = module.weight.detach()
    return stored


def config_json(config):
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        **asdict(config),
        "hidden_act": "relu2",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "tie_word_embeddings": True,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "torch_dtype": "float32",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": None,
        },
    }


def model_card(model, tokenizer, checkpoint):
    config, done = model.config, checkpoint["done"]
    prompt = tokenizer.encode("Once upon a time").ids
    sample = tokenizer.decode(generate(model, prompt, 400, END_OF_TEXT_ID, temperature=0.8, seed=2))
    return CARD.format(
        parameters=sum(p.numel() for p in model.parameters()),
        ternary=sum(m.weight.numel() for m in model.modules() if isinstance(m, BitLinear)),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocab=config.vocab_size,
        context=config.max_position_embeddings,
        sample="\n".join("> " + line if line else ">" for line in sample.split("\n")),
        corpus_stories=done["corpus_stories"],
        corpus_tokens=done["corpus_tokens"],
        tokens=done["tokens"],
        epochs=done["tokens"] / done["corpus_tokens"],
        minutes=done["seconds"] / 60,
        bits=done["best_bits_per_byte"],
    )


def export(run, out):
    """Writes the best checkpoint of the folder `run` to the folder `out`, replacing its files of the same names."""
    checkpoint = torch.load(run / "best.pt")
    model = BitNet(Config()).eval()
    model.load_state_dict(checkpoint["model"])
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    end_of_text = tokenizer.id_to_token(END_OF_TEXT_ID)

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    def write_json(name, value):
        (partial / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    write_json("config.json", config_json(model.config))
    write_json(
        "generation_config.json",
        {
            "bos_token_id": END_OF_TEXT_ID,
            "eos_token_id": END_OF_TEXT_ID,
            "do_sample": True,
            "temperature": 0.8,
            "top_p": 0.95,
        },
    )
    write_json(
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": end_of_text,
            "eos_token": end_of_text,
            "model_max_length": model.config.max_position_embeddings,
            "clean_up_tokenization_spaces": False,
        },
    )
    tokenizer.save(str(partial / "tokenizer.json"), pretty=False)
    save_file(tensors(model), partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "README.md").write_text(model_card(model, tokenizer, checkpoint), encoding="utf-8")

    out.mkdir(exist_ok=True)
    for file in partial.iterdir():
        os.replace(file, out / file.name)
    partial.rmdir()
    print(f"{out}: {sum(file.stat().st_size for file in out.iterdir())} bytes")
