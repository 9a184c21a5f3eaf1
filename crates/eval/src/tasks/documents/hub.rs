//! Which files of a data set's repository hold a split.
//!
//! It knows the names of files, and no network.

use super::super::dataset::Dataset;

/// The branch on which the Hub keeps its conversion of a data set to parquet.
const CONVERTED: &str = "refs/convert/parquet";

/// What the only configuration of a set is called there.
const ONLY: [&str; 2] = ["default", "plain_text"];

impl Dataset {
    /// The splits that documents are read from.
    pub fn splits(&self, num_fewshot: usize) -> Vec<&str> {
        let mut splits = vec![self.evaluation_split.as_str()];
        if num_fewshot > 0 && self.fewshot_split != self.evaluation_split {
            splits.push(&self.fewshot_split);
        }
        splits
    }

    /// The revision of the repository that has the files of a split.
    pub fn hub_revision(&self, split: &str) -> &'static str {
        match self.split_file(split) {
            Some(_) => "main",
            None => CONVERTED,
        }
    }

    /// Those of a repository's files that hold a split, in order; none if it has not all of it.
    pub fn hub_files<'a>(&self, split: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let wanted = self.split_file(split);
        let mut files: Vec<&str> = names
            .into_iter()
            .filter(|name| match wanted {
                Some(wanted) => *name == wanted,
                None => self.is_converted(split, name),
            })
            .collect();
        files.sort_unstable();
        files
    }

    fn split_file(&self, split: &str) -> Option<&str> {
        self.split_files.iter().find(|(of, _)| of == split).map(|(_, file)| file.as_str())
    }

    /// Whether a name is `CONFIG/SPLIT/0000.parquet` or a further part.
    fn is_converted(&self, split: &str, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let [config, of, file] = parts[..] else { return false };
        let is_config = match &self.config {
            Some(wanted) => config == wanted,
            None => ONLY.contains(&config),
        };
        let is_part = file
            .strip_suffix(".parquet")
            .is_some_and(|part| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit()));
        is_config && of == split && is_part
    }
}

#[cfg(test)]
mod tests {
    use crate::tasks::find;

    #[test]
    fn files_of_a_split_are_chosen_by_configuration() {
        let names = [
            "ARC-Easy/test/0001.parquet",
            "ARC-Easy/test/0000.parquet",
            "ARC-Easy/test/index.duckdb",
            "ARC-Easy/partial-test/0000.parquet",
            "ARC-Challenge/test/0000.parquet",
            "plain_text/validation/0000.parquet",
            "test/0000.parquet",
            "en/c4-validation.00000-of-00008.json.gz",
        ];
        let check = |task: &str, split: &str, revision: &str, wanted: &[&str]| {
            let selection = find(&[task]).expect("known");
            let dataset = selection.tasks[0].dataset.as_ref().expect("of the Hub");
            assert_eq!(dataset.hub_files(split, names), wanted, "{task}");
            assert_eq!(dataset.hub_revision(split), revision, "{task}");
        };
        let converted = "refs/convert/parquet";
        check(
            "arc_easy@0.3.0",
            "test",
            converted,
            &["ARC-Easy/test/0000.parquet", "ARC-Easy/test/0001.parquet"],
        );
        check("arc_challenge", "test", converted, &["ARC-Challenge/test/0000.parquet"]);
        check("piqa", "validation", converted, &["plain_text/validation/0000.parquet"]);
        check("piqa", "train", converted, &[]);
        check("c4", "validation", "main", &["en/c4-validation.00000-of-00008.json.gz"]);
    }

    #[test]
    fn a_second_split_is_needed_for_few_shot_examples_alone() {
        let splits = |task: &str, num_fewshot| {
            let selection = find(&[task]).expect("known");
            let dataset = selection.tasks[0].dataset.as_ref().expect("of the Hub");
            dataset.splits(num_fewshot).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(splits("gsm8k", 5), ["test", "train"]);
        assert_eq!(splits("gsm8k", 0), ["test"]);
        assert_eq!(splits("wsc273", 5), ["test"]);
    }
}
