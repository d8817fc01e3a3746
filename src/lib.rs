//! softnet
