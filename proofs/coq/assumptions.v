(* Every theorem of this folder, once: this list is what `make` in the folder
   above checks. Each line must print "Closed under the global context": the
   theorem rests on no axiom. *)
From unigrn Require Import frame separation support bootstrap ridge centring.
From unigrn Require Import celloracle gaussian blocks completed_square hard_threshold netrex_cf.
From unigrn Require Import evidence rational numbers computed duality certificate.

(* frame.v: strong equivalence *)
Print Assumptions frame.equivalent_sym.
Print Assumptions frame.equivalent_argmin.
Print Assumptions frame.equivalent_lower.
Print Assumptions frame.equivalent_refl.
Print Assumptions frame.equivalent_trans.
Print Assumptions frame.argmin_affine.

(* separation.v: targets separate *)
Print Assumptions separation.targets_separate.
Print Assumptions separation.parts_separate.
Print Assumptions separation.columns_separate.

(* support.v: support is deletion *)
Print Assumptions support.embed_supported.
Print Assumptions support.restrict_embed.
Print Assumptions support.embed_restrict.
Print Assumptions support.delete_embed.
Print Assumptions support.penalty_embed.
Print Assumptions support.support_is_deletion.
Print Assumptions support.support_argmin.
Print Assumptions support.regression_embed.
Print Assumptions support.masked_regression_is_deletion.

(* bootstrap.v: a bootstrap is a weighting *)
Print Assumptions bootstrap.bootstrap_is_a_weighting.
Print Assumptions bootstrap.drawn_total.
Print Assumptions bootstrap.bootstrap_argmin.

(* centring.v: centring is an intercept *)
Print Assumptions centring.squares_about_mean.
Print Assumptions centring.intercept_argmin.
Print Assumptions centring.with_intercept_square.
Print Assumptions centring.centring_is_an_intercept.
Print Assumptions centring.centring_equivalent.

(* ridge.v: ridge, and the elimination of activities *)
Print Assumptions ridge.gram_unit.
Print Assumptions ridge.normal_equations.
Print Assumptions ridge.ridge_square.
Print Assumptions ridge.ridge_argmin.
Print Assumptions ridge.ridge_least.
Print Assumptions ridge.ridge_units.
Print Assumptions ridge.activities_argmin.
Print Assumptions ridge.reconstruction_at_activities.
Print Assumptions ridge.reconstruction_is_min.

(* celloracle.v: Proposition 1 *)
Print Assumptions celloracle.masked_regression_instance.
Print Assumptions celloracle.proposition_1_ridge.
Print Assumptions celloracle.bag_is_weighted_ridge.
Print Assumptions celloracle.proposition_1_bag.
Print Assumptions celloracle.proposition_1_bagged.
Print Assumptions celloracle.released_weight_of_draws.
Print Assumptions celloracle.zero_filled_bags.
Print Assumptions celloracle.proposition_1_lasso.
Print Assumptions celloracle.scaling_is_a_penalty.
Print Assumptions celloracle.self_edges_are_support.
Print Assumptions celloracle.leaked_support.
Print Assumptions celloracle.sketch_and_release_part.

(* gaussian.v: category 2 and Bayesian ridge: the algebra *)
Print Assumptions gaussian.map_is_ridge.
Print Assumptions gaussian.map_is_lasso.
Print Assumptions gaussian.map_is_ridge_each.
Print Assumptions gaussian.mode_given_prior.
Print Assumptions gaussian.soft_prior_is_soft_data.
Print Assumptions gaussian.soft_prior_at_zero.
Print Assumptions gaussian.bayesian_ridge_theta.
Print Assumptions gaussian.mackay_lam.
Print Assumptions gaussian.mackay_a.

(* blocks.v: partial minimisation *)
Print Assumptions blocks.blocks_min.
Print Assumptions blocks.partial_minimisation.
Print Assumptions blocks.partial_minimisation_some.
Print Assumptions blocks.partial_equivalent.
Print Assumptions blocks.blocks_inf.
Print Assumptions blocks.eliminate.

(* completed_square.v: completed square *)
Print Assumptions completed_square.jump.
Print Assumptions completed_square.jump_prior.
Print Assumptions completed_square.completed_square.
Print Assumptions completed_square.price_ge.
Print Assumptions completed_square.released_eta_least.
Print Assumptions completed_square.absolute_value_agrees.
Print Assumptions completed_square.absolute_value_differs.
Print Assumptions completed_square.nonnegative_price_lsc.
Print Assumptions completed_square.negative_price_beats_zero.
Print Assumptions completed_square.negative_price_zero_not_optimal.
Print Assumptions completed_square.negative_price_not_attained.

(* hard_threshold.v: the prox of the l0 price *)
Print Assumptions hard_threshold.hard_threshold.
Print Assumptions hard_threshold.hard_threshold_strict.
Print Assumptions hard_threshold.hard_threshold_tie.
Print Assumptions hard_threshold.hard_threshold_prox.

(* netrex_cf.v: Proposition 2 *)
Print Assumptions netrex_cf.network_instance.
Print Assumptions netrex_cf.network_instance_some.
Print Assumptions netrex_cf.network_attained.
Print Assumptions netrex_cf.netrex_cf_completed_square.
Print Assumptions netrex_cf.proposition_2_released.
Print Assumptions netrex_cf.proposition_2_released_some.
Print Assumptions netrex_cf.Phi_mono.
Print Assumptions netrex_cf.proposition_2_attained.
Print Assumptions netrex_cf.negative_price_never_off.
Print Assumptions netrex_cf.proposition_2_sketched.
Print Assumptions netrex_cf.no_ridge_not_attained.
Print Assumptions netrex_cf.sketch_and_release_gap.
Print Assumptions netrex_cf.sketch_and_release_part.
Print Assumptions netrex_cf.filter_threshold.

(* rational.v: attainment depends on the field *)
Print Assumptions rational.rational_not_attained.

(* evidence.v: the weights of NetREX-CF from the prior *)
Print Assumptions evidence.evidence_weights.

(* numbers.v: binary fractions in an ordered field *)
Print Assumptions numbers.of_QD.
Print Assumptions numbers.of_QN.
Print Assumptions numbers.of_QM.
Print Assumptions numbers.of_QV.
Print Assumptions numbers.of_Q_le.
Print Assumptions numbers.of_Q_eq.
Print Assumptions numbers.of_Q_norm.
Print Assumptions numbers.of_Qred.

(* computed.v: the objectives of the theorems, computed *)
Print Assumptions computed.ridge_computed.
Print Assumptions computed.bag_computed.
Print Assumptions computed.lasso_computed.
Print Assumptions computed.mode_computed.
Print Assumptions computed.released_computed.
Print Assumptions computed.sketched_computed.
Print Assumptions computed.prices_computed.

(* duality.v: certificates *)
Print Assumptions duality.weak_duality.
Print Assumptions duality.certified_of_dual.
Print Assumptions duality.entry_witness.
Print Assumptions duality.elastic_net_bound.
Print Assumptions duality.ridge_bound.
Print Assumptions duality.lasso_bound.
Print Assumptions duality.box_bound.
Print Assumptions duality.group_bound.
Print Assumptions duality.problem_dual.
Print Assumptions duality.certified.

(* certificate.v: a checker of certificates *)
Print Assumptions certificate.check_sound.
Print Assumptions certificate.example_accepted.
Print Assumptions certificate.example_rejected.
