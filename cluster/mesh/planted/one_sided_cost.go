//go:build planted_one_sided_cost

package planted

// Now is the mistake of this build.
const Now = OneSidedCost
