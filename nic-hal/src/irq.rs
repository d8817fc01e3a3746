//! The table of interrupt lines.
