//go:build !race

package plugintest

// OneOf says that each so many-th of many odd things is tried.
const OneOf = 1
