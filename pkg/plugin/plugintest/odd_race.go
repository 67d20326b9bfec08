//go:build race

package plugintest

// oneOf says that each so many-th odd element is tried.
const oneOf = 5
