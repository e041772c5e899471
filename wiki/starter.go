package wiki

import (
	"embed"

	"github.com/erwik/erwik/wiki/page"
)

//go:embed starter
var starter embed.FS

// startPage is what the root address shows.
const startPage page.Name = "Home"

// starterPage returns the text of a page that comes with the program. It is
// shown until somebody's first edit, which makes the page's first commit.
func starterPage(name page.Name) ([]byte, bool) {
	text, err := starter.ReadFile("starter/" + name.Path())
	return text, err == nil
}
