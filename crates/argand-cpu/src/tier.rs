//! tier.
