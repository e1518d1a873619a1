//! How much of the product is real in a run, beside mesh, attachments, broker and the endpoints' logic, which always are.

/// Truth or speed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Profile {
    /// Everything: endpoints speak MPSL, brokers limit calls, each record is looked at.
    #[default]
    Full,
    /// Endpoints move plain bytes, brokers do not limit calls, records are not looked at: for many endpoints.
    Light,
}

impl Profile {
    /// Both.
    pub const ALL: [Profile; 2] = [Profile::Full, Profile::Light];
    /// Beyond so many endpoints the arithmetic of their joins alone takes a minute.
    pub const FULL_ENDPOINTS_MAX: usize = 1_000;

    /// Its name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Full => "full",
            Profile::Light => "light",
        }
    }

    /// What so many endpoints are played in if nobody says.
    pub const fn fitting(endpoints: usize) -> Profile {
        if endpoints <= Self::FULL_ENDPOINTS_MAX { Profile::Full } else { Profile::Light }
    }
}
