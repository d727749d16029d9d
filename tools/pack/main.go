// Command pack makes of compiled programs what a release consists of: container images, archives, charts, a list of contents
// (SPDX) and checksums. The same input gives the same bytes: times are those of the commit, owners are nobody.
//
// Usage:
//
//	pack images   --version V --revision COMMIT --epoch SECONDS --programs DIR --out DIR [--architectures amd64,arm64] [NAME...]
//	pack archives --version V --epoch SECONDS --programs DIR --out DIR
//	pack charts   --version V --epoch SECONDS --charts DIR --out DIR
//	pack sbom     --version V --revision COMMIT --epoch SECONDS --out FILE PROGRAM...
//	pack sums     --out DIR
//
// The folder of programs has one folder <os>_<architecture> for each platform.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// release says what is packed.
type release struct {
	version, revision string
	time              time.Time // of the commit
	programs, charts  string    // folders
	out               string
	license           string   // file
	architectures     []string // of images
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what: images, archives, charts, sbom or sums")
	}
	var r release
	var epoch int64
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "version of the release, without v")
	flags.StringVar(&r.revision, "revision", "", "commit")
	flags.Int64Var(&epoch, "epoch", 0, "time of the commit, in seconds")
	flags.StringVar(&r.programs, "programs", "", "folder of the programs")
	flags.StringVar(&r.charts, "charts", "", "folder of the charts")
	flags.StringVar(&r.out, "out", "", "what to write")
	flags.StringVar(&r.license, "license", "LICENSE", "file that archives and images hold")
	architectures := flags.String("architectures", "amd64,arm64", "of images")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	r.architectures = strings.Split(*architectures, ",")
	r.time = time.Unix(epoch, 0).UTC()
	r.version = strings.TrimPrefix(r.version, "v")
	switch args[0] {
	case "images":
		return r.images(flags.Args())
	case "archives":
		return r.archives()
	case "charts":
		return r.packCharts()
	case "sbom":
		return r.sbom(flags.Args())
	case "sums":
		return r.sums()
	}
	return fmt.Errorf("%q is not one of images, archives, charts, sbom, sums", args[0])
}
