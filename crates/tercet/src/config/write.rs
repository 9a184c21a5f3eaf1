//! `config.json` of a configuration, as transformers reads it.
//!
//! The other direction of `read`: reading what is written here gives the same configuration. It
//! knows no weights.

use serde_json::{Map, Value, json};

use super::{Config, Linears, ScaleRule, SubNorms};

impl Config {
    /// The fields of `config.json`.
    pub fn to_json(&self) -> Value {
        let (architecture, model_type) = match self.norms.sub {
            Some(SubNorms::Bitnet) => ("BitNetForCausalLM", "bitnet"),
            Some(SubNorms::OneBitLlm) => ("BitnetForCausalLM", "llama"),
            None => ("LlamaForCausalLM", "llama"),
        };
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut fields = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": exact(self.rms_norm_eps),
            "rope_theta": self.rope_theta,
            "hidden_act": self.hidden_act.name(),
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": false,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "torch_dtype": "bfloat16",
        });
        let object = fields.as_object_mut().expect("the fields are an object");
        self.add_quantization(object);
        fields
    }

    fn add_quantization(&self, fields: &mut Map<String, Value>) {
        let (linear_class, mode) = match self.linears {
            Linears::Dense => return,
            Linears::Blocks => {
                fields.insert("quantization_config".to_owned(), json!({ "quant_method": "gguf" }));
                return;
            }
            Linears::Masters if self.norms.sub == Some(SubNorms::OneBitLlm) => {
                fields.insert("weight_bits".to_owned(), json!(1));
                fields.insert("input_bits".to_owned(), json!(8));
                return;
            }
            Linears::Masters => ("autobitlinear", "online"),
            Linears::Packed { scale: ScaleRule::Multiply } => ("autobitlinear", "offline"),
            Linears::Packed { scale: ScaleRule::Divide } => ("bitlinear", "offline"),
        };
        let mut quantization = json!({
            "quant_method": "bitnet",
            "linear_class": linear_class,
            "quantization_mode": mode,
            "modules_to_not_convert": if self.tie_word_embeddings { Value::Null } else { json!(["lm_head"]) },
        });
        if let Some(eps) = self.norms.in_linear_eps {
            quantization["use_rms_norm"] = json!(true);
            quantization["rms_norm_eps"] = exact(eps);
        }
        fields.insert("quantization_config".to_owned(), quantization);
    }
}

/// A number that reads back as the same f32, in its shortest form.
fn exact(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().unwrap_or(f64::from(value)))
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::Checkpoint;
    use crate::config::{CONFIG_FILE, Config};
    use crate::source::Source;
    use crate::tiny_model::{KINDS, TinyModel, config_of};

    #[test]
    fn what_is_written_reads_back_the_same() {
        for kind in KINDS {
            let want = config_of(kind);
            let mut folder = TinyModel::new(kind).folder();
            folder.files.insert(CONFIG_FILE.to_owned(), want.to_json().to_string().into_bytes().into());
            let source = Source::Memory(folder);
            let checkpoint = Checkpoint::open(&source).unwrap();
            let got = Config::read(&source, &checkpoint).unwrap();
            assert_eq!(Config { family_evidence: want.family_evidence.clone(), ..got }, want, "{kind:?}");
        }
    }
}
