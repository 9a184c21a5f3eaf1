//! A pass that leaves the range of its numbers says so.

mod tiny_model;

use std::sync::Arc;

use tercet::model::{ForwardError, LogitRows, Model, Session, SessionSize};
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};
use tiny_model::{Kind, TinyModel};

/// A model whose keys exceed what a half can hold.
fn with_large_keys() -> TinyModel {
    const SCALE: f32 = 1e8;
    let mut model = TinyModel::new(Kind::Bitnet);
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.self_attn.k_proj.weight_scale");
        let [_, _, low, high] = SCALE.to_le_bytes();
        model.tensors.get_mut(&name).unwrap().bytes = vec![low, high];
    }
    model
}

#[test]
fn keys_beyond_the_range_of_the_cache_are_an_error() {
    for isa in Isa::available() {
        let model =
            Model::load(&with_large_keys().source(), Arc::new(Pool::new(isa, 1)), Layout::TwoBit).unwrap();
        let mut session = Session::new(&model, SessionSize { context: 64, max_rows: 8, max_logit_rows: 1 });
        let mut forward = |kv_type| {
            let mut cache = session.new_cache(kv_type);
            let sequence = Sequence { tokens: &[1, 2, 3], cache: &mut cache };
            session.forward(&mut [sequence], LogitRows::Last).map(<[f32]>::to_vec)
        };
        for kv_type in [KvType::F32, KvType::Int8] {
            assert!(forward(kv_type).is_ok(), "{isa:?}: {kv_type:?} holds the keys");
        }
        let result = forward(KvType::F16);
        assert!(matches!(result, Err(ForwardError::NotFinite { row: 0 })), "{isa:?}: {result:?}");
    }
}
