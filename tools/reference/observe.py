"""Runs the class of transformers on a model folder and writes down what passes through it."""

import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from torch import Tensor

from . import files, formula, models
from .models import Model
from .shapes import LINEARS, autobitlinear


@dataclass(frozen=True)
class Seen:
    """What was recorded, by which class, and from what if not from the folder itself."""

    tensors: dict[str, Tensor]
    class_name: str
    read_as: str | None


def silence_transformers() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore")


def versions() -> dict[str, str]:
    """Versions without the suffix that names a build."""
    return {
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }


def run(folder: Path, model: Model, input_ids: Tensor) -> Seen:
    """Loads the folder, or its twin that transformers understands, and runs the prompt."""
    twin, read_as = twin_of(model)
    if twin is None:
        return Seen(*_observe(folder, model, input_ids), None)
    with tempfile.TemporaryDirectory() as temporary:
        files.write_model(Path(temporary) / "twin", twin)
        return Seen(*_observe(Path(temporary) / "twin", twin, input_ids), read_as)


def twin_of(model: Model) -> tuple[Model, str] | tuple[None, None]:
    """The same function as a model that transformers has a class for."""
    if model.shape.family == "1bitllm":
        tensors = {
            name.replace(".inner_attn_ln.", ".attn_sub_norm.").replace(
                ".ffn_layernorm.", ".ffn_sub_norm."
            ): value
            for name, value in model.tensors.items()
        }
        config = model.config | {
            "architectures": ["BitNetForCausalLM"],
            "model_type": "bitnet",
            "quantization_config": autobitlinear("online"),
        }
        del config["weight_bits"], config["input_bits"]
        read_as = "the same tensors as BitNet with silu, autobitlinear, online; sub-norms renamed"
    elif model.shape.family == "bitnet-ternary-valued":
        tensors = dict(model.tensors)
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            linear = name.removesuffix(".weight")
            ternary = formula.read_weight(model.config, model.tensors, linear)
            tensors[name] = models.pack(ternary.weights)
            tensors[f"{linear}.weight_scale"] = torch.tensor([ternary.scale])
        config = model.config | {"quantization_config": autobitlinear("offline")}
        read_as = "the same codes packed, autobitlinear, offline; weight_scale F32 = s"
    else:
        return None, None
    return replace(model, config=config, tensors=tensors), read_as


def _observe(folder: Path, model: Model, input_ids: Tensor) -> tuple[dict[str, Tensor], str]:
    model_class = getattr(transformers, model.config["architectures"][0])
    network, loading = model_class.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind, names in loading.items():
        assert not names, f"{folder}: {kind}: {names}"
    network.eval()
    # Offline autobitlinear leaves embeddings and norms in the stored type whatever dtype is asked
    # for, and `.float()` refuses a quantized model.
    for parameter in network.parameters():
        parameter.data = parameter.data.float()

    recorded = {"input_ids": input_ids}
    for layer, block in enumerate(network.model.layers):
        block.register_forward_hook(_recorder(recorded, f"layers.{layer}"), with_kwargs=True)
    first_block = network.model.layers[0]
    for linear in LINEARS:
        module = first_block.get_submodule(formula.path_of(linear))
        module.register_forward_hook(_recorder(recorded, f"layers.0.{linear}"), with_kwargs=True)

    recorded["logits"] = network(input_ids[None], use_cache=False).logits[0]
    for linear in LINEARS:
        module = first_block.get_submodule(formula.path_of(linear))
        _record_codes(recorded, module, f"layers.0.{linear}", model)
    return recorded, model_class.__name__


def _recorder(recorded: dict[str, Tensor], name: str):
    """A hook that keeps the first argument and the output of a module, without the batch."""

    def record(module, arguments, keywords, output):
        x = arguments[0] if arguments else keywords["hidden_states"]
        recorded[f"{name}.input"] = x[0].clone()
        recorded[f"{name}.output"] = output[0].clone()

    return record


def _record_codes(recorded, module, name: str, model: Model) -> None:
    """Computes the activation codes in float32 and asserts that they make the module's output."""
    linear = name.rsplit(".", 1)[1]
    weight = formula.read_weight(
        model.config, model.tensors, f"model.layers.0.{formula.path_of(linear)}"
    )
    if not isinstance(weight, formula.Ternary):
        return
    x = recorded[f"{name}.input"]
    if module.rms_norm is not None:
        x = module.rms_norm(x)
    scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=formula.QUANTIZE_MIN)
    codes = (x * scale).round().clamp(-128, 127)
    accumulated = codes.double() @ weight.weights.double().T
    output = recorded[f"{name}.output"]
    if type(module).__name__ == "BitLinear":
        again = accumulated.float() / (scale * module.weight_scale)
        assert torch.equal(again, output), f"{name}: the codes do not make the output"
    else:
        again = accumulated * weight.scale / scale
        assert (again - output).abs().max() <= 1e-6 * output.abs().max(), name
    recorded[f"{name}.codes"] = codes.to(torch.int8)
