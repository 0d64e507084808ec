// Package house holds the rules of the code base as tests, so that nobody has to remember them: who may import whom, that
// every package says what it is for, how long a file and a function may be, and which modules are linked into the binary.
//
// It has no code besides the tests. CONTRIBUTING.md says how to change the list of modules.
package house
