#!/usr/bin/env python3
"""What each layer of a ternary model makes of single tokens in transformers, and how near rounding is to a tie.

    python3 -m pip install -r tools/requirements-interop.txt
    python3 tools/interop/ternary_ties.py FOLDER IDS_JSON OUT.safetensors

IDS_JSON is a file with a list of token ids. They go through the model once, and what enters each layer is kept. Then
every layer computes every token alone, at position 0, so that nothing but its own rounding acts on it. OUT holds, for `l`
layers and `t` tokens:

    inputs   F32 [l, t, hidden]   what enters
    outputs  F32 [l, t, hidden]   what leaves, for the token alone
    ties     F32 [l, t]           the least distance, in units of a code, of an activation before a linear from the
                                  middle between two codes

in float32 on the CPU. As in transformers_logits.py it is kept from GPU habits, and runs offline and no code of the folder.
"""

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers.integrations.bitnet import AutoBitLinear


def main(folder, ids_json, out):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.float()
    with open(ids_json, encoding="utf-8") as file:
        ids = torch.tensor([json.load(file)])
    inputs = []
    layers = model.model.layers
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: inputs.append((args or (kwargs["hidden_states"],))[0][0]), with_kwargs=True)
        for layer in layers
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()

    near = []

    def measure(_, args):
        x = args[0].double()
        scaled = x * (127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5))
        distance = ((scaled - scaled.floor()) - 0.5).abs()
        near.append(distance.amin(-1)[:, 0])

    for module in model.modules():
        if isinstance(module, AutoBitLinear):
            module.register_forward_pre_hook(measure)
    outputs, ties = [], []
    with torch.no_grad():
        for layer, hidden in zip(layers, inputs):
            alone = hidden[:, None, :]
            positions = torch.zeros(len(alone), 1, dtype=torch.long)
            rotary = model.model.rotary_emb(alone, positions)
            near.clear()
            found = layer(alone, position_embeddings=rotary, attention_mask=None, position_ids=positions)
            outputs.append((found[0] if isinstance(found, tuple) else found)[:, 0])
            ties.append(torch.stack(near).amin(0))
    tensors = {"inputs": torch.stack(inputs), "outputs": torch.stack(outputs), "ties": torch.stack(ties).float()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
