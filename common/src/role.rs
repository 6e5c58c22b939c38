//! What a network is for. Its name in `[model.NAME]` says it, and decides how it is trained.

use serde::{Deserialize, Serialize};

use crate::network::{Arch, CLASSES, NetworkConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str, parse_err_ty = String, parse_err_fn = unknown_role)]
pub enum Role {
    /// Classifier-free guidance, v2: AnoFPDM, gradients, `ddim-clf-free`. Trained on all slices
    /// with their image-level labels, some of them dropped.
    Guided,
    /// `anoddpm-gaussian`: v1, unconditional, trained on slices without lesion.
    HealthyGaussian,
    /// `anoddpm-simplex`: the same with simplex noise.
    HealthySimplex,
    /// `ddim-classifier`, `cg-cdm`: v1, conditioned on the image-level label, learned variance.
    Conditional,
    /// `ddim-classifier`, `cg-cdm`: image-level label from a noised slice.
    Classifier,
}

/// Which noise a network is trained on and sampled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseFamily {
    Gaussian,
    Simplex,
}

impl Role {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [
        Self::Guided,
        Self::HealthyGaussian,
        Self::HealthySimplex,
        Self::Conditional,
        Self::Classifier,
    ];

    /// The name used in specs, folders and reports.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The family of networks that can have this role.
    pub const fn arch(self) -> Arch {
        match self {
            Self::Guided => Arch::V2,
            Self::HealthyGaussian | Self::HealthySimplex | Self::Conditional => Arch::V1,
            Self::Classifier => Arch::Classifier,
        }
    }

    /// Labels the network is conditioned on; `None` where it is told none.
    pub const fn classes(self) -> Option<i64> {
        match self {
            Self::Guided | Self::Conditional => Some(CLASSES),
            Self::HealthyGaussian | Self::HealthySimplex | Self::Classifier => None,
        }
    }

    /// Output channels for slices of `in_channels` modalities, or logits of the classifier.
    pub const fn output_channels(self, in_channels: i64) -> i64 {
        match self {
            Self::Guided | Self::HealthyGaussian | Self::HealthySimplex => in_channels,
            Self::Conditional => 2 * in_channels,
            Self::Classifier => CLASSES,
        }
    }

    /// The noise of training, and of sampling where a method samples.
    pub const fn noise(self) -> NoiseFamily {
        match self {
            Self::HealthySimplex => NoiseFamily::Simplex,
            _ => NoiseFamily::Gaussian,
        }
    }

    /// Whether slices with a lesion are kept out of training.
    pub const fn healthy_only(self) -> bool {
        matches!(self, Self::HealthyGaussian | Self::HealthySimplex)
    }

    /// Says why a network of this architecture cannot have the role.
    pub fn check(self, config: &NetworkConfig) -> Result<(), RoleError> {
        let misfit = |needs: String, has: String| RoleError {
            role: self,
            needs,
            has,
        };
        if config.arch != self.arch() {
            return Err(misfit(
                format!("arch {}", self.arch()),
                format!("arch {}", config.arch),
            ));
        }
        if config.num_classes != self.classes() {
            let say = |classes: Option<i64>| {
                classes.map_or("no label table".to_owned(), |n| format!("{n} labels"))
            };
            return Err(misfit(say(self.classes()), say(config.num_classes)));
        }
        let outputs = self.output_channels(config.in_channels);
        if config.output_channels() != outputs {
            return Err(misfit(
                format!("{outputs} outputs"),
                format!("{}", config.output_channels()),
            ));
        }
        Ok(())
    }
}

/// A network that does not fit its role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network named {role} needs {needs}, this one has {has}")]
pub struct RoleError {
    role: Role,
    needs: String,
    has: String,
}

fn unknown_role(text: &str) -> String {
    let names = Role::ALL.map(Role::name).join(", ");
    format!("no network is named '{text}': the names are {names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
            assert_eq!(role.name().parse(), Ok(role));
        }
        let message = "guide".parse::<Role>().unwrap_err();
        assert!(message.contains("guided, healthy-gaussian"), "{message}");
    }

    #[test]
    fn a_network_that_does_not_fit_says_why() {
        let v2: NetworkConfig = serde_json::from_str(
            r#"{"image_size": 32, "in_channels": 4, "num_channels": 32, "num_res_blocks": 1,
                "channel_mult": [1, 2], "attention_downsample_rates": [2], "num_heads": 2}"#,
        )
        .unwrap();
        let v1 = NetworkConfig {
            arch: Arch::V1,
            num_classes: None,
            ..v2.clone()
        };
        assert_eq!(Role::Guided.check(&v2), Ok(()));
        assert_eq!(Role::HealthySimplex.check(&v1), Ok(()));
        for (role, config, part) in [
            (Role::Guided, &v1, "needs arch v2, this one has arch v1"),
            (
                Role::Conditional,
                &v1,
                "needs 2 labels, this one has no label table",
            ),
            (
                Role::HealthyGaussian,
                &NetworkConfig {
                    out_channels: Some(8),
                    ..v1.clone()
                },
                "needs 4 outputs, this one has 8",
            ),
        ] {
            let message = role.check(config).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
