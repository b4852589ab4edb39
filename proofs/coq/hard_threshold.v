(* The hard threshold. For a step t > 0 and a price c >= 0, the function
   (u - v)^2 / (2 t) + c 1[u <> 0] is least at 0 where v^2 < 2 t c, at v where
   v^2 > 2 t c, and at both where they are equal. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Threshold.
Variables (R : realFieldType) (t c v : R).
Hypothesis t_gt0 : 0 < t.
Hypothesis c_ge0 : 0 <= c.

Definition priced (u : R) : R := (u - v) ^+ 2 / (2%:R * t) + c * (u != 0)%:R.

Lemma t2_gt0 : 0 < 2%:R * t. Proof. by rewrite mulr_gt0 ?ltr0n. Qed.

Lemma priced0 : priced 0 = v ^+ 2 / (2%:R * t).
Proof. by rewrite /priced eqxx mulr0 addr0 sub0r sqrrN. Qed.

Lemma priced_v : priced v = c * (v != 0)%:R.
Proof. by rewrite /priced subrr expr0n /= mul0r add0r. Qed.

Lemma priced_ge u : u != 0 -> c <= priced u.
Proof.
move=> u0; rewrite /priced u0 mulr1 ler_addr.
by rewrite divr_ge0 ?sqr_ge0 // ltW ?t2_gt0.
Qed.

Lemma priced_gt u : u != 0 -> u != v -> c < priced u.
Proof.
move=> u0 uv; rewrite /priced u0 mulr1 ltr_addr.
by rewrite divr_gt0 ?t2_gt0 // lt_def sqr_ge0 sqrf_eq0 subr_eq0 uv.
Qed.

Theorem hard_threshold u :
  argmin (@free _) priced u <->
  (u = 0 /\ v ^+ 2 <= 2%:R * t * c) \/ (u = v /\ 2%:R * t * c <= v ^+ 2).
Proof.
have le0 : (v ^+ 2 <= 2%:R * t * c) = (priced 0 <= c).
  by rewrite priced0 ler_pdivr_mulr ?t2_gt0 // mulrC.
have le1 : (2%:R * t * c <= v ^+ 2) = (c <= priced 0).
  by rewrite priced0 ler_pdivl_mulr ?t2_gt0 // mulrC.
have vle : priced v <= c by rewrite priced_v ler_pimulr // lern1 leq_b1.
rewrite le0 le1; split=> [[_ h]|[[-> l]|[-> l]]].
- have [u0|u0] := eqVneq u 0.
    by left; split=> //; rewrite -u0; apply: le_trans (h v I) vle.
  have [uv|uv] := eqVneq u v.
    right; split=> //; apply: le_trans (h 0 I).
    exact: priced_ge.
  by have := lt_le_trans (priced_gt u0 uv) (le_trans (h v I) vle); rewrite ltxx.
- split=> // w _; have [->|w0] := eqVneq w 0; first exact: lexx.
  exact: le_trans l (priced_ge w0).
- split=> // w _; have [->|w0] := eqVneq w 0; first exact: le_trans vle l.
  exact: le_trans vle (priced_ge w0).
Qed.

(* away from the tie there is one minimiser *)
Theorem hard_threshold_strict u : v ^+ 2 != 2%:R * t * c ->
  argmin (@free _) priced u <-> u = (if 2%:R * t * c < v ^+ 2 then v else 0).
Proof.
move=> ne; rewrite hard_threshold; case: (ltgtP (2%:R * t * c) (v ^+ 2)) => h.
- by split=> [[[_ //]|[-> //]]|->]; right.
- by split=> [[[-> //]|[_ //]]|->]; left.
- by rewrite h eqxx in ne.
Qed.

(* at the tie the two candidates have the same value *)
Theorem hard_threshold_tie : v ^+ 2 = 2%:R * t * c ->
  argmin (@free _) priced 0 /\ argmin (@free _) priced v.
Proof. by move=> e; split; apply/hard_threshold; [left|right]; rewrite e. Qed.

End Threshold.

(* A whole matrix of priced entries, each with its own price. *)
Section Entries.
Variables (R : realFieldType) (I : finType) (t : R) (c v : I -> R).
Hypothesis t_gt0 : 0 < t.
Hypothesis c_ge0 : forall i, 0 <= c i.

Definition priced_sum (u : I -> R) : R := \sum_i priced t (c i) (v i) (u i).

Theorem hard_threshold_prox u :
  (forall i, u i = if 2%:R * t * c i < v i ^+ 2 then v i else 0) ->
  argmin (@free _) priced_sum u.
Proof.
move=> hu; split=> // u' _; apply: ler_sum => i _.
have [_] : argmin (@free _) (priced t (c i) (v i)) (u i).
  apply/hard_threshold => //; rewrite hu.
  by case: ltP => h; [right; split=> //; apply: ltW | left].
by apply.
Qed.

End Entries.
