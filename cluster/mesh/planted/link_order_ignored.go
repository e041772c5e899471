//go:build planted_link_order_ignored

package planted

// Now is the mistake of this build.
const Now = LinkOrderIgnored
