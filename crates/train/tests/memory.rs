//! The estimate of what a network takes is what it takes: counted by the allocator itself.
#![expect(unsafe_code, reason = "an allocator that counts")]

mod models;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use models::{MODELS, model_config};
use tercet::config::Config;
use tercet_kernels::ops::backward::GradientPrecision;
use tercet_kernels::{Isa, Pool};
use tercet_train::data::Batch;
use tercet_train::model::{LossSettings, MemoryNeed, Network, NetworkSize};

/// Bytes that are taken now.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: usize = 512;
const CONTEXT: usize = 128;

/// Bytes of a network after a step.
fn taken(config: Config, size: NetworkSize) -> usize {
    let pool = Arc::new(Pool::new(Isa::best(), 1));
    let batch = Batch {
        tokens: vec![1; ROWS],
        targets: vec![2; ROWS],
        counts: vec![true; ROWS],
        segments: vec![CONTEXT; ROWS / CONTEXT],
    };
    let before = TAKEN.load(Ordering::SeqCst);
    let mut network = Network::new(config, pool, size);
    network.quantize().unwrap();
    // As in every later step: in the memory of the last codes.
    network.quantize().unwrap();
    network.accumulate(&batch, &LossSettings::hard(1.0), None);
    TAKEN.load(Ordering::SeqCst) - before
}

/// The estimate leaves out what a worker keeps for itself, the parts of gains' gradients and tables: less
/// than a fiftieth.
#[test]
fn the_need_is_what_is_taken() {
    for (name, norms, hidden_act, linears) in MODELS {
        // Codes of widths that need no padding, in matrices small enough to come from the allocator.
        let config = Config {
            hidden_size: 160,
            intermediate_size: 480,
            num_attention_heads: 10,
            num_key_value_heads: 5,
            head_dim: 16,
            vocab_size: 128,
            ..model_config(norms, hidden_act, linears)
        };
        for (precision, recompute) in [(GradientPrecision::F32, false), (GradientPrecision::Bf16, true)] {
            let size = NetworkSize { rows: ROWS, context: CONTEXT, recompute, precision };
            // What is taken once in a process, by products in f32, is there after the first time.
            taken(config.clone(), size);
            let need = MemoryNeed::new(&config, &size);
            // The optimizer's moments are half of what belongs to parameters.
            let want = need.total_bytes() - need.parameter_bytes / 2;
            let share = taken(config.clone(), size) as f64 / want as f64;
            assert!((1.0..1.02).contains(&share), "{name}, {precision:?}: {share:.3} of the estimate");
        }
    }
}
