//go:build !planted_exclude_told && !planted_forward_before_verify && !planted_vector_before_sync && !planted_log_id_reused && !planted_stale_record_wins && !planted_known_stops_list && !planted_keep_union && !planted_no_hint && !planted_short_is_all && !planted_trust_lists && !planted_believe_death && !planted_no_reopen && !planted_ack_not_sent && !planted_never_resent && !planted_queue_without_cap && !planted_signature_not_checked && !planted_one_sided_cost && !planted_dead_never_dialled && !planted_tombstone_ignored && !planted_pull_from_start && !planted_pull_never_retried && !planted_no_refutation && !planted_vector_hash_adds && !planted_link_order_ignored && !planted_fork_not_dug && !planted_passed_forgotten && !planted_only_direct_reach && !planted_incarnation_forgotten && !planted_limbo_without_cap && !planted_stalled_pull_kept && !planted_unadmitted_taken && !planted_stale_tree && !planted_awaits_for_ever

package planted

// Now is the mistake of this build: none.
const Now = None
