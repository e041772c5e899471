package page

// The limits of views and merges. docs/OPERATING.md lists them, and a test compares
// the two.
const (
	// maxUniting and maxMerging are how many views of several heads are made at once,
	// and how many edits are merged; more wait. Either is work for the processor,
	// and may take twenty times the memory of a text.
	maxUniting, maxMerging = 4, 4
	// viewCacheCost bounds the cache of views of pages with several heads, in bytes of
	// their texts; one of a quarter of that or less is kept.
	viewCacheCost = 16 << 20
)
