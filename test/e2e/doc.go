// Package e2e has the end-to-end tests: they run the built programs as real
// processes, do to them what happens to programs, and hold what lies in the
// warehouse afterwards against what they know to be true.
//
// `make e2e` runs them. They need the build tag e2e, the programs in bin/, and
// the engine (CHDB_LIB_PATH). What needs root is passed over without it.
package e2e
