// Command neutrino is OpenStack networking in one program: the server with the networking API, the agent of a host, the
// lab, and the tools around them.
package main

import (
	"os"

	"github.com/neutrino-net/neutrino/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
