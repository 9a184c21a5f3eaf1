//! What was asked and answered: the lines of the harness's `samples_TASK_DATE.jsonl`.

use serde_json::{Map, Value, json};

use super::TaskResult;
use crate::Response;
use crate::tasks::{FilteredResponse, Value as Measure};

/// One object a document and filter, in order.
pub fn samples(result: &TaskResult) -> impl Iterator<Item = Value> {
    let filters = result.measures.first().map_or(0, |measures| measures.filtered.len());
    (0..filters)
        .flat_map(move |filter| (0..result.examples.len()).map(move |index| sample(result, index, filter)))
}

fn sample(result: &TaskResult, index: usize, filter: usize) -> Value {
    let example = &result.examples[index];
    let filtered = &result.measures[index].filtered[filter];
    let arguments = example.arguments();
    let arguments = arguments.as_array().into_iter().flatten().enumerate().map(|(request, arguments)| {
        let arguments = arguments.as_array().into_iter().flatten().enumerate();
        let arguments: Map<_, _> =
            arguments.map(|(at, argument)| (format!("arg_{at}"), argument.clone())).collect();
        (format!("gen_args_{request}"), Value::Object(arguments))
    });
    let target = match serde_json::to_value(&example.target) {
        Ok(Value::String(target)) => target,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    };
    let mut sample = Map::new();
    let mut put = |key: &str, value: Value| sample.insert(key.to_owned(), value);
    put("doc_id", example.index.into());
    put("doc", json!(example.document));
    put("target", target.into());
    put("arguments", Value::Object(arguments.collect()));
    put("resps", result.responses[index].iter().map(|response| json!([response_values(response)])).collect());
    put("filtered_resps", filtered.responses.iter().map(filtered_values).collect());
    put("filter", filtered.filter.clone().into());
    put("metrics", filtered.values.iter().map(|(name, _)| *name).collect());
    put("doc_hash", example.document_hash().into());
    put("prompt_hash", example.prompt_hash().into());
    put("target_hash", example.target_hash().into());
    for (name, value) in &filtered.values {
        let value = match *value {
            Measure::Number(number) => json!(number),
            Measure::Weighted { log_likelihood, weight } => json!([log_likelihood, weight]),
        };
        put(name, value);
    }
    Value::Object(sample)
}

/// As the harness writes them: every number a string.
fn response_values(response: &Response) -> Value {
    match response {
        Response::LogLikelihood { log_likelihood, is_greedy } => pair(*log_likelihood, *is_greedy),
        Response::Rolling { log_likelihood } => log_likelihood.to_string().into(),
        Response::Generated { text } => text.clone().into(),
    }
}

fn filtered_values(response: &FilteredResponse) -> Value {
    match response {
        FilteredResponse::LogLikelihood(log_likelihood, is_greedy) => pair(*log_likelihood, *is_greedy),
        FilteredResponse::Rolling(log_likelihood) => log_likelihood.to_string().into(),
        FilteredResponse::Text(text) => text.clone().into(),
    }
}

fn pair(log_likelihood: f64, is_greedy: bool) -> Value {
    json!([log_likelihood.to_string(), if is_greedy { "True" } else { "False" }])
}
