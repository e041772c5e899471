package markdown

import (
	"errors"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// The parser's cost grows with the square of the input for some inputs that
// nobody writes by hand. A budget counts the steps of such places, never time,
// so that every node comes to the same answer. Text that exceeds it is shown
// as it was written.
const (
	budgetSteps = 256 << 20
	// costReference is what a link reference definition costs: each may move
	// all that follow.
	costReference = 32 << 10
)

// errTooIntricate is what exceeding the budget panics with inside the parser,
// which has no other way out; Renderer.parse turns it back into an error.
var errTooIntricate = errors.New("markdown: the text is too intricate to render")

type budget struct{ left int }

func (b *budget) spend(steps int) {
	if b.left -= steps; b.left < 0 {
		panic(errTooIntricate)
	}
}

// watchedContext counts link reference definitions.
type watchedContext struct {
	parser.Context
	budget *budget
}

// AddReference implements parser.Context.
func (c *watchedContext) AddReference(r parser.Reference) {
	c.budget.spend(costReference)
	c.Context.AddReference(r)
}

// blockWatch counts where blocks nest: each level looks at the whole line that
// is left. It opens no block itself.
type blockWatch struct{}

func (blockWatch) Trigger() []byte { return []byte(">-+*0123456789") }

func (blockWatch) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	stateOf(pc).budget.spend(len(line) + len(pc.OpenedBlocks()))
	return nil, parser.NoChildren
}

func (blockWatch) Continue(ast.Node, text.Reader, parser.Context) parser.State { return parser.Close }
func (blockWatch) Close(ast.Node, text.Reader, parser.Context)                 {}
func (blockWatch) CanInterruptParagraph() bool                                 { return true }
func (blockWatch) CanAcceptIndentedLine() bool                                 { return true }

// inlineWatch counts where links end: each end may look for its destination in
// all that is left of the line. It takes nothing itself.
type inlineWatch struct{}

func (inlineWatch) Trigger() []byte { return []byte{']'} }

func (inlineWatch) Parse(_ ast.Node, block text.Reader, pc parser.Context) ast.Node {
	line, _ := block.PeekLine()
	stateOf(pc).budget.spend(len(line))
	return nil
}
