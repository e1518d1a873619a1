//! The protocol held against its written form: vectors, registry, limits, corpora.

mod corpus;
mod frames;
mod limits;
mod registry;
mod samples;
mod text;
