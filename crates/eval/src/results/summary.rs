//! All metrics of a run: the harness's `results_DATE.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tercet::digest::hex;

use super::TaskResult;
use crate::tasks::{Group, Metric, aggregate_group};

/// How the results came about.
#[derive(Debug, Clone)]
pub struct Run {
    /// The model, as it was named.
    pub model: String,
    /// A digest of what it computes.
    pub model_digest: Option<String>,
    /// Numbers of the vocabulary projection and of the cache.
    pub numbers: [&'static str; 2],
    /// Tokens that it read at once, at most.
    pub max_length: usize,
    /// Tokens that were computed together.
    pub batch_size: usize,
    /// Only so many documents of each task, if not all.
    pub limit: Option<usize>,
    /// The seed of few-shot examples.
    pub fewshot_seed: u64,
    /// The template that wrote conversations, as it is written; none where text was continued.
    pub chat_template: Option<String>,
    /// What stood before all else.
    pub system_instruction: Option<String>,
    /// Whether few-shot examples were turns; nothing where there was no conversation and nobody said so.
    pub fewshot_as_multiturn: Option<bool>,
    /// How many requests of each task lost their beginning, for which the model has no room.
    pub cut_requests: Vec<(String, usize)>,
    /// When it began, in seconds since 1970.
    pub date: f64,
    /// How long it took.
    pub seconds: f64,
    /// The version of this program.
    pub version: &'static str,
}

/// The results as one object, with the harness's keys; what it has no key for is under `tercet`.
pub fn summary(run: &Run, results: &[TaskResult], groups: &[Group]) -> Value {
    let by_task = |value: &dyn Fn(&TaskResult) -> Value| -> Value {
        let entries = results.iter().map(|result| (result.task.name.clone(), value(result)));
        Value::Object(entries.collect())
    };
    let group_metrics: Vec<(&Group, Vec<Metric>)> =
        groups.iter().map(|group| (group, of_group(group, results))).collect();
    let mut by_name = Map::new();
    for result in results {
        let row = row(&result.task.name, &result.task.alias, &result.metrics, result.examples.len());
        by_name.insert(result.task.name.clone(), row);
    }
    let mut by_group = Map::new();
    for (group, metrics) in &group_metrics {
        let examples = metrics.first().map_or(0, |metric| metric.examples);
        let row = row(&group.name, &group.alias, metrics, examples);
        by_group.insert(group.name.clone(), row.clone());
        by_name.insert(group.name.clone(), row);
    }
    let members: Map<_, _> = groups.iter().map(|group| (group.name.clone(), json!(group.members))).collect();
    let sanitized = sanitized(&run.model);
    let mut summary = json!({
        "results": by_name,
        "group_subtasks": members,
        "configs": by_task(&|result| result.task.config().clone()),
        "versions": by_task(&|result| json!(result.task.version)),
        "n-shot": by_task(&|result| json!(result.num_fewshot)),
        "higher_is_better": by_task(&|result| {
            let names = result.task.metric_names().into_iter();
            Value::Object(names.map(|(name, better)| (name.to_owned(), better.into())).collect())
        }),
        "n-samples": by_task(&|result| {
            json!({"original": result.documents.len(), "effective": result.examples.len()})
        }),
        "config": {
            "model": "tercet",
            "model_args": {
                "pretrained": run.model,
                "head": run.numbers[0],
                "kv": run.numbers[1],
                "max_length": run.max_length,
            },
            "batch_size": run.batch_size.to_string(),
            "device": "cpu",
            "limit": run.limit,
            "fewshot_seed": run.fewshot_seed,
        },
        "date": run.date,
        "task_hashes": by_task(&|result| json!(result.documents.digest())),
        "max_length": run.max_length,
        "model_source": "tercet",
        "model_name": run.model,
        "model_name_sanitized": sanitized,
        "system_instruction": run.system_instruction,
        "system_instruction_sha": sha(run.system_instruction.as_deref()),
        "fewshot_as_multiturn": run.fewshot_as_multiturn,
        "chat_template": run.chat_template,
        "chat_template_sha": sha(run.chat_template.as_deref()),
        "total_evaluation_time_seconds": run.seconds.to_string(),
        "tercet": {
            "version": run.version,
            "model_sha256": run.model_digest,
            "project_documents": project_documents(results),
            "cut_requests": run.cut_requests.iter().cloned().collect::<BTreeMap<String, usize>>(),
        },
    });
    if !by_group.is_empty() {
        summary["groups"] = by_group.into();
    }
    summary
}

/// A group's metrics, from those of its tasks.
pub fn of_group(group: &Group, results: &[TaskResult]) -> Vec<Metric> {
    let tasks = group.tasks.iter().filter_map(|name| results.iter().find(|result| result.task.name == *name));
    let tasks: Vec<&[Metric]> = tasks.map(|result| result.metrics.as_slice()).collect();
    aggregate_group(group, &tasks)
}

/// Tasks whose documents were written for this project: their scores are not those of the data sets.
fn project_documents(results: &[TaskResult]) -> Vec<&str> {
    let of_project = results.iter().filter(|result| result.documents.is_project());
    of_project.map(|result| result.task.name.as_str()).collect()
}

fn row(name: &str, alias: &str, metrics: &[Metric], examples: usize) -> Value {
    let mut row = Map::new();
    row.insert("name".to_owned(), name.into());
    row.insert("alias".to_owned(), alias.into());
    row.insert("sample_len".to_owned(), examples.into());
    for Metric { name, filter, value, stderr, .. } in metrics {
        row.insert(format!("{name},{filter}"), json!(value));
        let stderr = stderr.map_or_else(|| json!("N/A"), |stderr| json!(stderr));
        row.insert(format!("{name}_stderr,{filter}"), stderr);
    }
    Value::Object(row)
}

/// SHA-256 of a text that is not empty.
fn sha(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| hex(&Sha256::digest(text)))
}

/// A name as part of a path, as the harness makes it of a model's.
pub fn sanitized(name: &str) -> String {
    let mut sanitized = String::new();
    let mut was_kept = true;
    for c in name.chars() {
        let is_kept = !"\"<>:/\\|?*[]".contains(c) && !c.is_control();
        match (is_kept, was_kept) {
            (true, _) => sanitized.push(c),
            (false, true) => sanitized.push_str("__"),
            (false, false) => {}
        }
        was_kept = is_kept;
    }
    sanitized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        assert_eq!(sanitized("org/name"), "org__name");
        assert_eq!(sanitized("/a//b:*c"), "__a__b__c");
    }
}
