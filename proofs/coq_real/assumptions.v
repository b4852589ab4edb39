(* Every theorem of this folder, once: `make` in the folder above checks that
   each rests on nothing but the axioms that the file `axioms` names. *)
From unigrn_real Require Import coercive attained.

(* coercive.v: minima of coercive functions *)
Print Assumptions coercive.coercive_min.
Print Assumptions coercive.pair_min.

(* attained.v: attainment in Proposition 2 *)
Print Assumptions attained.factors_attained.
Print Assumptions attained.smooth_part_attained.
Print Assumptions attained.netrex_cf_attained.
Print Assumptions attained.proposition_2_real.
Print Assumptions attained.evidence_attained.
Print Assumptions attained.prior_is_an_argument.
