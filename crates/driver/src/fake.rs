//! Fakes of every driver that can be told to fail. Used by the agent's tests and by whole-cluster simulations.
