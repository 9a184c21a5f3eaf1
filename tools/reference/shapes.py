"""The models to build: their sizes, and the config.json of a published model of the family."""

from dataclasses import dataclass

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# The families whose linears hold master weights, quantized when the model is loaded.
MASTER_FAMILIES = ("bitnet-online", "1bitllm")


@dataclass(frozen=True)
class Shape:
    """One golden model. Fields bear the names of config.json."""

    family: str
    name: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    dtype: str  # of every stored float, weight_scale excepted
    tie_word_embeddings: bool
    explicit_head_dim: int | None = None
    num_hidden_layers: int = 2
    vocab_size: int = 96
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    linear_rms_norm_eps: float | None = None  # quantization_config.rms_norm_eps
    weight_scale_dtype: str = "bfloat16"
    shards: int = 1
    modern_config: bool = False  # `dtype` and `rope_parameters`, as transformers 5 writes them
    bare_quantization_config: bool = False  # only quant_method and modules_to_not_convert: null

    @property
    def head_dim(self) -> int:
        return self.explicit_head_dim or self.hidden_size // self.num_attention_heads


# fmt: off
SHAPES = (
    Shape("bitnet-packed", "h100", 100, 172, 5, 5, "bfloat16", True, rope_theta=500000.0),
    Shape("bitnet-packed", "h128-grouped", 128, 256, 8, 2, "bfloat16", False, vocab_size=131,
          rms_norm_eps=1e-6, weight_scale_dtype="float32"),
    Shape("bitnet-packed", "h64-sharded", 64, 160, 4, 1, "bfloat16", True, shards=3,
          rope_theta=500000.0),

    Shape("bitnet-online", "h100", 100, 172, 5, 1, "bfloat16", True, num_hidden_layers=1,
          rope_theta=500000.0),
    Shape("bitnet-online", "h64-grouped", 64, 172, 8, 2, "bfloat16", False, vocab_size=131,
          rms_norm_eps=1e-6),
    Shape("bitnet-online", "h60-modern", 60, 100, 3, 3, "bfloat16", True, modern_config=True,
          rope_theta=500000.0),

    Shape("llama-bitlinear", "h100", 100, 172, 5, 5, "bfloat16", False, rope_theta=1000042.0,
          rms_norm_eps=1e-6),
    Shape("llama-bitlinear", "h96-headdim", 96, 160, 4, 2, "bfloat16", False,
          explicit_head_dim=32, rope_theta=500000.0, weight_scale_dtype="float32"),
    Shape("llama-bitlinear", "h128-tied", 128, 172, 8, 2, "float16", True, vocab_size=131,
          weight_scale_dtype="float16", bare_quantization_config=True),

    Shape("llama-bitlinear-rmsnorm", "h100", 100, 172, 5, 5, "bfloat16", False,
          linear_rms_norm_eps=1e-6, rope_theta=500000.0),
    Shape("llama-bitlinear-rmsnorm", "h64-eps0", 64, 172, 8, 2, "bfloat16", False,
          linear_rms_norm_eps=0.0),
    Shape("llama-bitlinear-rmsnorm", "h48-headdim", 48, 100, 4, 2, "float32", True,
          explicit_head_dim=20, linear_rms_norm_eps=1e-6, rms_norm_eps=1e-6, shards=3,
          weight_scale_dtype="float32"),

    Shape("1bitllm", "h60-f32", 60, 100, 3, 3, "float32", True, num_hidden_layers=1),
    Shape("1bitllm", "h100-f16", 100, 172, 5, 5, "float16", True, num_hidden_layers=1,
          rms_norm_eps=1e-6),
    Shape("1bitllm", "h48-grouped", 48, 172, 4, 2, "float32", True, num_hidden_layers=1,
          vocab_size=131, shards=3),

    Shape("llama-dense", "h48-f32", 48, 100, 4, 2, "float32", False, num_hidden_layers=1),
    Shape("llama-dense", "h100-bf16", 100, 172, 5, 5, "bfloat16", True, num_hidden_layers=1,
          rope_theta=500000.0),
    Shape("llama-dense", "h64-f16-headdim", 64, 172, 4, 1, "float16", False, num_hidden_layers=1,
          vocab_size=131, explicit_head_dim=32, rms_norm_eps=1e-6),

    Shape("bitnet-ternary-valued", "h48-f32", 48, 100, 4, 2, "float32", True),
    Shape("bitnet-ternary-valued", "h100-bf16", 100, 172, 5, 5, "bfloat16", True,
          num_hidden_layers=1, rope_theta=500000.0),
    Shape("bitnet-ternary-valued", "h64-bf16-grouped", 64, 160, 8, 2, "bfloat16", False,
          num_hidden_layers=1, vocab_size=131, rms_norm_eps=1e-6),
)
# fmt: on


def config_of(shape: Shape) -> dict:
    """config.json as the family's published models have it."""
    config = {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_size": shape.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": 512,
        "num_attention_heads": shape.num_attention_heads,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_key_value_heads": shape.num_key_value_heads,
        "rms_norm_eps": shape.rms_norm_eps,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "use_cache": True,
        "vocab_size": shape.vocab_size,
        **_family_fields(shape),
    }
    if shape.explicit_head_dim:
        config["head_dim"] = shape.explicit_head_dim
    if shape.modern_config:
        config["dtype"] = shape.dtype
        config["rope_parameters"] = {"rope_theta": shape.rope_theta, "rope_type": "default"}
    else:
        config["torch_dtype"] = shape.dtype
        config["rope_theta"] = shape.rope_theta
    return config


def _family_fields(shape: Shape) -> dict:
    bitnet = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
    }
    llama = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "mlp_bias": False,
        "pretraining_tp": 1,
        "rope_scaling": None,
    }
    if shape.family == "bitnet-packed":
        return bitnet | {"quantization_config": autobitlinear("offline")}
    if shape.family in ("bitnet-online", "bitnet-ternary-valued"):
        return bitnet | {"quantization_config": autobitlinear("online")}
    if shape.family == "llama-bitlinear":
        not_converted = None if shape.bare_quantization_config else ["lm_head"]
        quantization = {"quant_method": "bitnet", "modules_to_not_convert": not_converted}
        extra = {} if shape.bare_quantization_config else {"is_bitnet_config": True}
        return llama | extra | {"quantization_config": quantization}
    if shape.family == "llama-bitlinear-rmsnorm":
        quantization = {
            "quant_method": "bitnet",
            "linear_class": "bitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": ["lm_head"],
            "use_rms_norm": True,
            "rms_norm_eps": shape.linear_rms_norm_eps,
        }
        return llama | {"quantization_config": quantization}
    if shape.family == "1bitllm":
        bits = {"input_bits": 8, "weight_bits": 1}
        return llama | bits | {"architectures": ["BitnetForCausalLM"]}
    assert shape.family == "llama-dense", shape.family
    return llama


def autobitlinear(quantization_mode: str) -> dict:
    """The quantization_config of microsoft's models."""
    return {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": quantization_mode,
    }
