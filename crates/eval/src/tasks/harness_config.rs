//! A description as lm-evaluation-harness would report it: `configs` of a result.

use super::dataset::Dataset;
use super::description::{Description, Kind};

/// What the harness calls a kind of request.
pub(super) fn output_type(kind: Kind) -> &'static str {
    match kind {
        Kind::MultipleChoice | Kind::MultipleContext => "multiple_choice",
        Kind::Continuation => "loglikelihood",
        Kind::Rolling => "loglikelihood_rolling",
        Kind::Generate => "generate_until",
    }
}

/// A description with the harness's names for its keys.
pub(super) fn config(
    description: &Description,
    name: &str,
    alias: &str,
    dataset: Option<&Dataset>,
) -> serde_json::Value {
    let mut config = serde_json::Map::new();
    let mut set = |key: &str, value: serde_json::Value| config.insert(key.to_owned(), value);
    set("task", name.into());
    if alias != name {
        set("task_alias", alias.into());
    }
    if let (Some(of_hub), Some(dataset)) = (&description.dataset, dataset) {
        set("dataset_path", dataset.path.clone().into());
        if let Some(config) = &dataset.config {
            set("dataset_name", config.clone().into());
        }
        let splits = [
            ("training_split", &of_hub.training_split),
            ("validation_split", &of_hub.validation_split),
            ("test_split", &of_hub.test_split),
            ("fewshot_split", &of_hub.fewshot_split),
        ];
        for (key, split) in splits {
            if let Some(split) = split {
                set(key, split.clone().into());
            }
        }
    }
    let parts = description;
    let texts: Vec<(&str, &String)> = if let Some(parts) = &parts.multiple_choice {
        vec![
            ("doc_to_text", &parts.context),
            ("doc_to_choice", &parts.choices),
            ("doc_to_target", &parts.gold),
        ]
    } else if let Some(parts) = &parts.multiple_context {
        vec![
            ("doc_to_text", &parts.gold),
            ("doc_to_choice", &parts.contexts),
            ("doc_to_target", &parts.continuation),
        ]
    } else if let Some(parts) = &parts.continuation {
        vec![("doc_to_text", &parts.context), ("doc_to_target", &parts.target)]
    } else if let Some(parts) = &parts.rolling {
        vec![("doc_to_target", &parts.text)]
    } else if let Some(parts) = &parts.generate {
        let generation = serde_json::json!({
            "until": parts.until, "do_sample": false, "temperature": 0.0, "max_gen_toks": parts.max_tokens,
        });
        set("generation_kwargs", generation);
        vec![("doc_to_text", &parts.context), ("doc_to_target", &parts.target)]
    } else {
        Vec::new()
    };
    for (key, text) in texts {
        set(key, text.clone().into());
    }
    set("description", description.description.clone().into());
    if !description.gen_prefix.is_empty() {
        set("gen_prefix", description.gen_prefix.clone().into());
    }
    set("target_delimiter", description.target_delimiter.clone().into());
    set("fewshot_delimiter", description.fewshot_delimiter.clone().into());
    set("output_type", output_type(description.kind()).into());
    set("num_fewshot", description.num_fewshot.into());
    let sampler = serde_json::to_value(description.sampler).expect("a name");
    set("fewshot_config", serde_json::json!({ "sampler": sampler }));
    let metrics = description.metrics.iter().map(
        |metric| serde_json::json!({"metric": metric.name(), "higher_is_better": metric.higher_is_better()}),
    );
    set("metric_list", metrics.collect());
    set("metadata", serde_json::json!({ "version": description.version }));
    serde_json::Value::Object(config)
}
