//! Bill page.
