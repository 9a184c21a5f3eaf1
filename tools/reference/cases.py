"""The models and steps of tools/reference_training.py: sizes, config.json, seeded tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import formula, models
from .models import Draws, Model
from .shapes import LINEARS, autobitlinear

# Standard deviations of the masters, each times a factor of 0.5 to 2. Queries and keys are large
# enough for attention to choose, embedding and head for the softmax to.
STD = {
    "q_proj": 0.2,
    "k_proj": 0.2,
    "v_proj": 0.1,
    "o_proj": 0.1,
    "gate_proj": 0.15,
    "up_proj": 0.15,
    "down_proj": 0.1,
}
EMBEDDING_STD = 0.3
HEAD_STD = 0.3
TEACHER_STD = 2.0

SUB_NORMS = {
    "sub": ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"),
    "1bitllm": ("self_attn.inner_attn_ln", "mlp.ffn_layernorm"),
}


@dataclass(frozen=True)
class Case:
    """One golden step or run. The sizes bear the names of config.json."""

    name: str
    norms: str  # in-linear, pre, pre-and-in-linear, sub, 1bitllm; in a dense model pre
    hidden_act: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    is_dense: bool = False
    head_dim: int = 0  # hidden_size / num_attention_heads without one
    num_hidden_layers: int = 2
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    linear_rms_norm_eps: float = 1e-6
    quantization: float = 1.0  # λ
    segments: tuple[int, ...] = (13,)  # lengths; a row each token
    uncounted: int = 0  # rows whose target does not count
    reduction: str = "mean"
    teacher_weight: float = 0.0
    temperature: float = 1.0
    optimizer: str = ""  # adamw or muon, in a run
    steps: int = 0  # of a run
    learning_rate: float = 1e-3

    shards = 1

    def __post_init__(self) -> None:
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    @property
    def rows(self) -> int:
        return sum(self.segments)

    @property
    def has_in_linear_norms(self) -> bool:
        return self.norms in ("in-linear", "pre-and-in-linear")


# fmt: off
STEPS = (
    Case("in-linear-silu", "in-linear", "silu", 32, 50, 4, 2, 61, True),
    Case("in-linear-relu2", "in-linear", "relu2", 28, 54, 2, 1, 67, False),
    Case("pre-silu", "pre", "silu", 32, 50, 2, 1, 71, False),
    Case("pre-relu2", "pre", "relu2", 28, 42, 2, 2, 63, True, rms_norm_eps=1e-6),
    Case("pre-and-in-linear-silu", "pre-and-in-linear", "silu", 32, 46, 4, 1, 61, True),
    Case("pre-and-in-linear-relu2", "pre-and-in-linear", "relu2", 28, 44, 2, 1, 65, False,
         linear_rms_norm_eps=1e-5),
    Case("sub-silu", "sub", "silu", 28, 45, 2, 2, 61, True, rope_theta=500000.0),
    Case("sub-relu2", "sub", "relu2", 36, 50, 2, 1, 61, True, rope_theta=500000.0),
    Case("1bitllm-silu", "1bitllm", "silu", 36, 42, 2, 1, 62, True),
    Case("1bitllm-relu2", "1bitllm", "relu2", 28, 46, 2, 1, 69, False, rms_norm_eps=1e-6),
    Case("dense-silu", "pre", "silu", 32, 46, 4, 2, 61, False, is_dense=True),
    Case("dense-relu2", "pre", "relu2", 30, 44, 3, 1, 90, True, is_dense=True),

    Case("in-linear-lambda", "in-linear", "silu", 20, 38, 2, 1, 61, True, quantization=0.4),
    Case("sub-lambda", "sub", "relu2", 20, 38, 2, 1, 61, False, quantization=0.4, head_dim=12),
    Case("in-linear-segments", "in-linear", "relu2", 20, 38, 2, 2, 61, True,
         segments=(11, 6), uncounted=5),
    Case("dense-segments", "pre", "silu", 20, 38, 2, 1, 61, True, is_dense=True,
         segments=(5, 14), uncounted=4),
    Case("in-linear-long", "in-linear", "silu", 16, 26, 2, 1, 61, True, segments=(139,)),
    Case("dense-long", "pre", "relu2", 16, 26, 2, 2, 61, False, is_dense=True, segments=(139,)),
    Case("segments-long", "sub", "relu2", 16, 26, 2, 1, 61, True, segments=(70, 67), uncounted=9),
    Case("distillation", "in-linear", "silu", 20, 38, 2, 1, 61, True, uncounted=3,
         teacher_weight=0.3, temperature=2.0),
    Case("sum", "sub", "relu2", 20, 38, 2, 1, 61, True, uncounted=4, reduction="sum"),
)

RUNS = (
    Case("run-in-linear", "in-linear", "silu", 24, 42, 2, 1, 61, True, segments=(20,),
         optimizer="adamw", steps=20),
    Case("run-sub", "sub", "relu2", 24, 42, 2, 1, 61, False, segments=(20,), rope_theta=500000.0,
         optimizer="adamw", steps=20),
    Case("run-dense", "pre", "silu", 24, 42, 3, 1, 61, True, is_dense=True, segments=(20,),
         optimizer="adamw", steps=20),
    Case("run-muon", "pre", "silu", 24, 42, 2, 1, 61, False, is_dense=True, segments=(20,),
         optimizer="muon", steps=5),
)
# fmt: on


def build(case: Case, seed: int) -> Model:
    """The model of this case and seed, its masters in float32."""
    draw = Draws(f"training-{case.name}", seed)
    vocabulary = (case.vocab_size, case.hidden_size)
    tensors = {
        "model.embed_tokens.weight": draw.normal("embed", vocabulary, EMBEDDING_STD),
        "model.norm.weight": draw.gains("norm", case.hidden_size),
    }
    if not case.tie_word_embeddings:
        tensors["lm_head.weight"] = draw.normal("lm_head", vocabulary, HEAD_STD)
    for layer in range(case.num_hidden_layers):
        block = f"model.layers.{layer}"
        for norm, size in _norm_sizes(case).items():
            tensors[f"{block}.{norm}.weight"] = draw.gains(f"{block}.{norm}", size)
        for linear in LINEARS:
            name = f"{block}.{formula.path_of(linear)}"
            size = models.linear_size(case, linear)
            std = STD[linear] * draw.factor(name)
            tensors[f"{name}.weight"] = draw.normal(name, size, std)
            if case.has_in_linear_norms:
                gains = draw.gains(f"{name}.rms_norm", size[1])
                tensors[f"{name}.rms_norm.weight"] = gains
    return Model(case, seed, config_of(case), tensors)


def draws(case: Case, seed: int) -> Draws:
    """The other random numbers of a case."""
    return Draws(f"training-{case.name}", seed)


def teacher_logits(case: Case, seed: int) -> Tensor:
    """Logits [rows, vocab] of a teacher that there never was."""
    return draws(case, seed).normal("teacher", (case.rows, case.vocab_size), TEACHER_STD)


def counts(case: Case, seed: int) -> Tensor:
    """U8 [rows]: 0 for as many rows as do not count."""
    order = draws(case, seed).generator("uncounted").permutation(case.rows)
    found = torch.ones(case.rows, dtype=torch.uint8)
    found[torch.from_numpy(order[: case.uncounted])] = 0
    return found


def config_of(case: Case) -> dict:
    """config.json as tercet writes it for such a model."""
    architecture, model_type = {
        "sub": ("BitNetForCausalLM", "bitnet"),
        "1bitllm": ("BitnetForCausalLM", "llama"),
    }.get(case.norms, ("LlamaForCausalLM", "llama"))
    config = {
        "architectures": [architecture],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": case.head_dim,
        "hidden_act": case.hidden_act,
        "hidden_size": case.hidden_size,
        "intermediate_size": case.intermediate_size,
        "max_position_embeddings": 256,
        "model_type": model_type,
        "num_attention_heads": case.num_attention_heads,
        "num_hidden_layers": case.num_hidden_layers,
        "num_key_value_heads": case.num_key_value_heads,
        "rms_norm_eps": case.rms_norm_eps,
        "rope_theta": case.rope_theta,
        "tie_word_embeddings": case.tie_word_embeddings,
        "torch_dtype": "float32",
        "vocab_size": case.vocab_size,
    }
    if case.is_dense:
        return config
    if case.norms == "1bitllm":
        return config | {"input_bits": 8, "weight_bits": 1}
    quantization = autobitlinear("online")
    quantization["modules_to_not_convert"] = None if case.tie_word_embeddings else ["lm_head"]
    if case.has_in_linear_norms:
        quantization["use_rms_norm"] = True
        quantization["rms_norm_eps"] = case.linear_rms_norm_eps
    return config | {"quantization_config": quantization}


def _norm_sizes(case: Case) -> dict[str, int]:
    """The norms of a block outside its linears, and their sizes."""
    norms = {}
    if case.norms != "in-linear":
        norms["input_layernorm"] = case.hidden_size
        norms["post_attention_layernorm"] = case.hidden_size
    if case.norms in SUB_NORMS:
        attention, mlp = SUB_NORMS[case.norms]
        norms[attention] = case.num_attention_heads * case.head_dim
        norms[mlp] = case.intermediate_size
    return norms
