//! Instruction sets: which ones this CPU has, and a token that proves it.
//!
//! The only place that asks which CPU this is. It knows nothing of operations: [`crate::dispatch`] chooses by an
//! [`Isa`] what runs.

use std::fmt;

/// Name of the environment variable that forces an instruction set.
const ISA_VARIABLE: &str = "TERCET_ISA";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "aarch64")]
    NeonDotprod,
}

/// An instruction set of this CPU. A value exists only where the CPU has the instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

/// Why a named instruction set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IsaError {
    /// The CPU lacks it, or no such set is known.
    #[error("{ISA_VARIABLE}: found `{found}`, this machine has {available}")]
    Unavailable {
        /// What was asked for.
        found: String,
        /// The names that would work here, comma-separated.
        available: String,
    },
}

impl Isa {
    /// The portable definition, which every machine has.
    pub fn scalar() -> Isa {
        Isa(Kind::Scalar)
    }

    /// Every instruction set of this CPU, slowest first.
    pub fn available() -> Vec<Isa> {
        let mut found = vec![Isa(Kind::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                found.push(Isa(Kind::Avx2));
            }
            let avx512vnni = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512vnni {
                found.push(Isa(Kind::Avx512Vnni));
                if is_x86_feature_detected!("avx512vbmi") {
                    found.push(Isa(Kind::Avx512Vbmi));
                    if is_x86_feature_detected!("avx512bf16") {
                        found.push(Isa(Kind::Avx512Bf16));
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            found.push(Isa(Kind::NeonDotprod));
        }
        found
    }

    /// The fastest instruction set of this CPU.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa(Kind::Scalar))
    }

    /// The one named in `TERCET_ISA`, or the fastest where the variable is unset or empty.
    ///
    /// # Errors
    /// [`IsaError::Unavailable`] when the variable names a set that this CPU lacks.
    pub fn from_environment() -> Result<Isa, IsaError> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => Isa::by_name(&name),
            _ => Ok(Isa::best()),
        }
    }

    /// The instruction set with this name.
    ///
    /// # Errors
    /// [`IsaError::Unavailable`] when there is none here.
    pub fn by_name(name: &str) -> Result<Isa, IsaError> {
        let available = Isa::available();
        available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| format!("`{}`", isa.name())).collect();
            IsaError::Unavailable { found: name.to_owned(), available: names.join(", ") }
        })
    }

    /// Its name, as `TERCET_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vbmi => "avx512vbmi",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Bf16 => "avx512bf16",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod => "neon_dotprod",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        self.0
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_is_found_by_its_name() {
        for isa in Isa::available() {
            assert_eq!(Isa::by_name(isa.name()).unwrap(), isa);
        }
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let message = Isa::by_name("sse9").unwrap_err().to_string();
        assert!(message.contains("found `sse9`") && message.contains("`scalar`"), "{message}");
    }
}
