//! Loading a packed folder takes at most its resident size and a fifth more, mapped pages counted.
//!
//! The peak belongs to a process, so the test starts itself again and asks that process.

mod skipping;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use tercet::model::Model;
use tercet::presets::Preset;
use tercet::random_folder;
use tercet::source::Source;
use tercet_kernels::{Isa, Layout, Pool};

const NAME: &str = "loading_peaks_at_the_resident_size_and_a_fifth";
const CHILD: &str = "TERCET_TEST_LOAD";

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(CHILD) {
        load(Path::new(&folder));
        return ExitCode::SUCCESS;
    }
    if status_kib("VmHWM").is_none() {
        skipping::skip(NAME, "this system does not tell a process its peak memory");
        println!("\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n");
        return ExitCode::SUCCESS;
    }
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("125m");
    random_folder::write(&Preset::by_name("125m").unwrap().config(), &folder, 1, |_, _| ()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap()).env(CHILD, &folder).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let text = String::from_utf8(child.stdout).unwrap();
    let [peak, resident] = text.split_whitespace().map(|x| x.parse().unwrap()).collect::<Vec<f64>>()[..]
    else {
        panic!("found {text:?}, expected two numbers");
    };
    assert!(peak <= 1.2 * resident, "peak of {peak} bytes, resident {resident}");
    println!("test {NAME} ... ok ({:.2} of the resident size)", peak / resident);
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n");
    ExitCode::SUCCESS
}

/// Loads the folder and prints the growth of this process's peak and the model's size, in bytes.
fn load(folder: &Path) {
    let before_kib = status_kib("VmRSS").unwrap();
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let model = Model::load(&Source::folder(folder).unwrap(), pool, Layout::TwoBit).unwrap();
    let peak_kib = status_kib("VmHWM").unwrap() - before_kib;
    println!("{} {}", peak_kib * 1024, model.resident_bytes());
}

fn status_kib(field: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
