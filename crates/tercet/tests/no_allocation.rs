//! A decode step allocates nothing: counted by the allocator itself, over all threads.
//!
//! Without the test harness, whose threads would allocate at any time.
#![expect(clippy::print_stdout, reason = "a test's report")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tercet::embedded;
use tercet::model::{HeadType, LogitRows, Model, Session, SessionSize, WeightTypes};
use tercet_kernels::{Isa, KvType, Layout, Pool, QuantizedType, Sequence};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Memory) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Memory) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Memory, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let heads = [HeadType::Checkpoint].into_iter().chain(QuantizedType::ALL.map(HeadType::Quantized));
    for head in heads {
        for layout in [Layout::TwoBit, Layout::BaseThree] {
            check(WeightTypes { layout, head });
        }
    }
    println!("test a_decode_step_allocates_nothing ... ok");
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n");
}

/// Decode steps with each type of cache.
fn check(weights: WeightTypes) {
    let pool = Arc::new(Pool::new(Isa::best(), 2));
    let model = Model::load(&embedded::stories(), pool, weights).unwrap();
    let mut session = Session::new(&model, SessionSize { context: 128, max_rows: 8, max_logit_rows: 1 });
    for kv_type in [KvType::F32, KvType::F16, KvType::Int8] {
        let mut cache = session.new_cache(kv_type);
        session.forward(&mut [Sequence { tokens: &[1, 2, 3], cache: &mut cache }], LogitRows::Last).unwrap();
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for token in 0..100 {
            session
                .forward(&mut [Sequence { tokens: &[token], cache: &mut cache }], LogitRows::Last)
                .unwrap();
        }
        let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
        assert_eq!(allocations, 0, "100 decode steps of {weights:?} with a cache in {kv_type:?} allocate");
    }
}
