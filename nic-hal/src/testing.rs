//! Fakes and the conformance suite.
