//! The Thetis node: configuration, supervisor, governor, app database, control API and command line.
