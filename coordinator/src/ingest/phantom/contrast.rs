//! How bright each tissue is in each modality, as parts of the brightest.

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub(super) enum Modality {
    Flair,
    T1,
    T1ce,
    T2,
}

impl Modality {
    /// As BraTS names its files.
    pub(super) const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Brightness of the tissues. A lesion always lies between two healthy ones.
    pub(super) const fn brightness(self) -> Brightness {
        match self {
            Self::Flair => Brightness {
                fluid: 0.16,
                white: 0.46,
                grey: 0.84,
                lesion: 0.77,
                core: 0.70,
            },
            Self::T1 => Brightness {
                fluid: 0.20,
                white: 0.82,
                grey: 0.56,
                lesion: 0.48,
                core: 0.36,
            },
            Self::T1ce => Brightness {
                fluid: 0.20,
                white: 0.80,
                grey: 0.58,
                lesion: 0.50,
                core: 0.72,
            },
            Self::T2 => Brightness {
                fluid: 0.98,
                white: 0.40,
                grey: 0.62,
                lesion: 0.76,
                core: 0.86,
            },
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Brightness {
    pub(super) fluid: f64,
    pub(super) white: f64,
    pub(super) grey: f64,
    pub(super) lesion: f64,
    pub(super) core: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesion_lies_within_the_range_of_healthy_tissue() {
        for modality in [Modality::Flair, Modality::T1, Modality::T1ce, Modality::T2] {
            let Brightness {
                fluid,
                white,
                grey,
                lesion,
                core,
            } = modality.brightness();
            let low = fluid.min(white).min(grey);
            let high = fluid.max(white).max(grey);
            assert!(
                (low..=high).contains(&lesion) && (low..=high).contains(&core),
                "{modality:?}"
            );
        }
    }
}
