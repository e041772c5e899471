//go:build planted_known_stops_list

package planted

// Now is the mistake of this build.
const Now = KnownStopsList
