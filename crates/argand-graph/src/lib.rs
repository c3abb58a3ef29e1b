//! Values, shapes, ops and passes: a model as a graph that is run, trained, counted, drawn and split.
