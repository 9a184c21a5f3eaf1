//! The parameters of a model in one long buffer, each tensor by its name in the checkpoint.
//!
//! It knows names, shapes and places; gradients and the optimizer's moments lie in buffers of the
//! same layout.
//!
//! ```text
//! | embed_tokens | layer 0: norms, linears | layer 1 … | norm | lm_head |   each from a multiple of 16
//! ```

use std::ops::Range;

use tercet::config::{Config, TensorKind, expected_tensors, linear_shape};
use tercet::model::Layer;

/// Tensors begin at multiples of this many elements: a cache line.
const ALIGNMENT: usize = 16;

/// One tensor of the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: TensorKind,
    /// Its elements in the buffer.
    pub range: Range<usize>,
}

/// Where every parameter of a model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterLayout {
    parameters: Vec<Parameter>,
    len: usize,
}

impl ParameterLayout {
    /// The layout of a model that is trained: its linears are masters or dense.
    ///
    /// # Panics
    /// If the linears are packed.
    pub fn new(config: &Config) -> Self {
        let mut len = 0;
        let place = |tensor: tercet::config::ExpectedTensor| {
            assert_ne!(tensor.kind, TensorKind::WeightScale, "ParameterLayout: the linears are floats");
            let elements: usize = tensor.shape.iter().product();
            let range = len..len + elements;
            len = range.end.next_multiple_of(ALIGNMENT);
            Parameter { name: tensor.name, shape: tensor.shape, kind: tensor.kind, range }
        };
        let parameters = expected_tensors(config).into_iter().map(place).collect();
        ParameterLayout { parameters, len }
    }

    /// Every parameter, in the order of the buffer.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Elements of the buffer, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many numbers are trained.
    pub fn count(&self) -> u64 {
        self.parameters.iter().map(|parameter| parameter.range.len() as u64).sum()
    }

    /// The place of a parameter.
    ///
    /// # Panics
    /// If the model has none of this name.
    pub(super) fn range(&self, name: &str) -> Range<usize> {
        self.find(name).expect("ParameterLayout: a parameter of the model")
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        let found = self.parameters.iter().find(|parameter| parameter.name == name);
        found.map(|parameter| parameter.range.clone())
    }
}

/// A norm's gain in the parameters, and its ε.
#[derive(Debug, Clone)]
pub(super) struct NormPlace {
    pub(super) gain: Range<usize>,
    pub(super) eps: f32,
}

/// A linear in the parameters.
#[derive(Debug, Clone)]
pub(super) struct LinearPlace {
    pub(super) weight: Range<usize>,
    /// Outputs and inputs.
    pub(super) shape: [usize; 2],
    /// The norm inside it.
    pub(super) norm: Option<NormPlace>,
}

/// The parameters of one layer.
#[derive(Debug, Clone)]
pub(super) struct LayerPlaces {
    pub(super) input_layernorm: Option<NormPlace>,
    pub(super) post_attention_layernorm: Option<NormPlace>,
    /// The norm before `o_proj`.
    pub(super) attention_sub_norm: Option<NormPlace>,
    /// The norm before `down_proj`.
    pub(super) mlp_sub_norm: Option<NormPlace>,
    /// In the order of [`Layer::LINEARS`].
    pub(super) linears: [LinearPlace; 7],
}

/// The parameters of a model, by their use.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) embedding: Range<usize>,
    pub(super) layers: Vec<LayerPlaces>,
    pub(super) norm: NormPlace,
    /// The vocabulary projection: the embedding where they are tied.
    pub(super) head: Range<usize>,
}

impl Places {
    pub(super) fn new(config: &Config, layout: &ParameterLayout) -> Self {
        let embedding = layout.range(tercet::config::EMBEDDING);
        let head = layout.find(tercet::config::HEAD).unwrap_or_else(|| embedding.clone());
        let norm = |module: &str, eps| NormPlace { gain: layout.range(&format!("{module}.weight")), eps };
        let layer = |layer: usize| {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let outer = |part: &str| norm(&name(part), config.rms_norm_eps);
            let linears = Layer::LINEARS.map(|part| LinearPlace {
                weight: layout.range(&format!("{}.weight", name(part))),
                shape: linear_shape(config, part),
                norm: config.norms.in_linear_eps.map(|eps| norm(&format!("{}.rms_norm", name(part)), eps)),
            });
            LayerPlaces {
                input_layernorm: config.norms.pre.then(|| outer("input_layernorm")),
                post_attention_layernorm: config.norms.pre.then(|| outer("post_attention_layernorm")),
                attention_sub_norm: config.norms.sub.map(|names| outer(names.attention())),
                mlp_sub_norm: config.norms.sub.map(|names| outer(names.mlp())),
                linears,
            }
        };
        Places {
            embedding,
            layers: (0..config.num_hidden_layers).map(layer).collect(),
            norm: norm("model.norm", config.rms_norm_eps),
            head,
        }
    }
}
