"""The steps that every call walks, one module each, in the order in which `pipeline` runs them: origin, authenticate
(which also checks that the key may use this proxy), inspect. The record at the end is built by `Exchange.record`."""
