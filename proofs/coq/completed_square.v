(* The collaborative-filtering part of NetREX-CF, entry by entry.

   At one entry, z = 1 where the edge is on, p = 1 where the prior names it, r
   is the entry of the product of the factors. Switching the edge on changes
   the cost by a price that is a completed square,
   eta0 + lam beta (r - (1 + (1 - p) alpha / beta))^2, whatever r: at least
   eta0. The price of an edge that the prior does not name is the least that
   has this property. With a smaller one the price is negative for some r, and
   then a smooth function plus the price is not lower semicontinuous: 0 is
   never optimal, and the infimum need not be attained. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Entry.
Variable R : realFieldType.
Implicit Types (lam alpha beta eta r s : R) (p z : bool).

(* the cost of an entry, with any l0 weight eta *)
Definition entry_cost lam alpha beta eta p z r : R :=
  lam * (alpha + beta * z%:R) * ((z%:R + (1 - z%:R) * p%:R) - r) ^+ 2 + eta * z%:R.

(* the released l0 weight *)
Definition released_eta lam alpha beta eta0 p : R :=
  if p then eta0 else eta0 + lam * alpha * (1 + alpha / beta).

Definition centre alpha beta p : R := 1 + (1 - p%:R) * (alpha / beta).

Definition price lam alpha beta eta0 p r : R :=
  eta0 + lam * beta * (r - centre alpha beta p) ^+ 2.

Theorem jump lam alpha beta eta0 p r : beta != 0 ->
  let eta := released_eta lam alpha beta eta0 p in
  entry_cost lam alpha beta eta p true r - entry_cost lam alpha beta eta p false r
  = price lam alpha beta eta0 p r.
Proof.
move=> b0; rewrite /entry_cost /released_eta /price /centre.
by case: p => /=; field.
Qed.

(* on the prior no condition on beta is needed *)
Theorem jump_prior lam alpha beta eta0 r :
  entry_cost lam alpha beta eta0 true true r - entry_cost lam alpha beta eta0 true false r
  = eta0 + lam * beta * (r - 1) ^+ 2.
Proof. rewrite /entry_cost /=; ring. Qed.

(* the cost as a completed square: a cost without the edge, plus the price *)
Theorem completed_square lam alpha beta eta0 p z r : beta != 0 ->
  entry_cost lam alpha beta (released_eta lam alpha beta eta0 p) p z r =
  lam * alpha * (p%:R - r) ^+ 2 + price lam alpha beta eta0 p r * z%:R.
Proof.
move=> b0; rewrite /entry_cost /released_eta /price /centre.
by case: p; case: z => /=; field.
Qed.

Theorem price_ge lam alpha beta eta0 p r : 0 <= lam * beta ->
  eta0 <= price lam alpha beta eta0 p r.
Proof. by move=> h; rewrite /price ler_addl mulr_ge0 ?sqr_ge0. Qed.

(* off the prior the released weight is the least that keeps the price >= eta0 *)
Theorem released_eta_least lam alpha beta eta0 eta : 0 < lam * beta -> beta != 0 ->
  (forall r, eta0 <= entry_cost lam alpha beta eta false true r
                     - entry_cost lam alpha beta eta false false r) <->
  released_eta lam alpha beta eta0 false <= eta.
Proof.
move=> lb b0.
have e r : entry_cost lam alpha beta eta false true r
           - entry_cost lam alpha beta eta false false r
         = eta - released_eta lam alpha beta eta0 false
           + (eta0 + lam * beta * (r - (1 + alpha / beta)) ^+ 2).
  by rewrite /entry_cost /released_eta /=; field.
split=> [/(_ (1 + alpha / beta))|h r]; rewrite e.
- by rewrite subrr expr0n /= mulr0 addr0 ler_addr subr_ge0.
- rewrite addrCA ler_addl addr_ge0 ?subr_ge0 //.
  by rewrite mulr_ge0 ?sqr_ge0 // ltW.
Qed.

(* Sketched entry cost, with the indicator or with the absolute value of s. *)
Definition sketched_cost (a1 a2 conf : R) p (m r : R) : R :=
  (a1 * conf * m * p%:R + a2 * m * (1 - p%:R) + conf) *
  ((m + (1 - m) * p%:R) - r) ^+ 2.

Theorem absolute_value_agrees a1 a2 conf p s r : s = 0 \/ `|s| = 1 ->
  sketched_cost a1 a2 conf p `|s| r = sketched_cost a1 a2 conf p (s != 0)%:R r.
Proof.
case=> [->|h]; first by rewrite normr0 eqxx.
by rewrite h -normr_eq0 h oner_eq0.
Qed.

Theorem absolute_value_differs a1 a2 conf s r :
  a1 * conf != 0 -> r != 1 -> s != 0 -> `|s| != 1 ->
  sketched_cost a1 a2 conf true `|s| r != sketched_cost a1 a2 conf true (s != 0)%:R r.
Proof.
move=> ac r1 s0 s1; rewrite s0 -subr_eq0.
have -> : sketched_cost a1 a2 conf true `|s| r - sketched_cost a1 a2 conf true 1 r =
          a1 * conf * (`|s| - 1) * (1 - r) ^+ 2.
  by rewrite /sketched_cost /=; ring.
apply: mulf_neq0; first by apply: mulf_neq0; rewrite // subr_eq0.
by apply: expf_neq0; rewrite subr_eq0 eq_sym.
Qed.

End Entry.

(* Why the price must not be negative: one entry s, all else fixed, a smooth
   objective quadratic in s (as it is in NetREX-CF) plus h 1[s <> 0]. *)
Section Semicontinuity.
Variables (R : realFieldType) (a b k h : R).
Definition smooth (s : R) : R := a * s ^+ 2 + b * s + k.
Definition with_price (s : R) : R := smooth s + h * (s != 0)%:R.

Lemma smooth_near eps : 0 < eps ->
  exists2 d, 0 < d & forall s, `|s| < d -> `|smooth s - smooth 0| < eps.
Proof.
move=> e0; pose m := `|a| + `|b| + 1.
have m0 : 0 < m by rewrite ltr_paddl ?ltr01 // addr_ge0.
exists (Num.min 1 (eps / m)); first by rewrite lt_minr ltr01 divr_gt0.
move=> s; rewrite lt_minr => /andP[s1 se].
have -> : smooth s - smooth 0 = (a * s + b) * s by rewrite /smooth; ring.
rewrite normrM; have le : `|a * s + b| <= m.
  apply: le_trans (ler_norm_add _ _) _; rewrite /m normrM -addrA ler_add //.
    by rewrite ler_pimulr // ltW.
  by rewrite ler_addl ler01.
have [->|s0] := eqVneq s 0; first by rewrite normr0 mulr0.
rewrite ltr_pdivl_mulr // in se; apply: le_lt_trans se.
by rewrite mulrC ler_wpmul2l.
Qed.

(* h >= 0: lower semicontinuous at 0 *)
Theorem nonnegative_price_lsc eps : 0 <= h -> 0 < eps ->
  exists2 d, 0 < d & forall s, `|s| < d -> with_price 0 - eps < with_price s.
Proof.
move=> h0 e0; have [d d0 hd] := smooth_near e0; exists d => // s sd.
rewrite /with_price eqxx mulr0 addr0.
apply: (@lt_le_trans _ _ (smooth s)); last by rewrite ler_addl mulr_ge0 ?ler0n.
by have := hd _ sd; rewrite ltr_distl => /andP[].
Qed.

(* h < 0: every small nonzero s is better than 0, so 0 is never optimal *)
Theorem negative_price_beats_zero : h < 0 ->
  exists2 d, 0 < d & forall s, s != 0 -> `|s| < d -> with_price s < with_price 0.
Proof.
move=> h0; have [|d d0 hd] := @smooth_near (- h); first by rewrite oppr_gt0.
exists d => // s s0 sd; rewrite /with_price s0 eqxx mulr0 mulr1 addr0.
have := hd _ sd; rewrite ltr_norml => /andP[_].
by rewrite ltr_subl_addl ltr_subr_addr.
Qed.

Theorem negative_price_zero_not_optimal : h < 0 -> ~ argmin (@free _) with_price 0.
Proof.
move=> h0 [_ m]; have [d d0 hd] := negative_price_beats_zero h0.
have d2 : 0 < d / 2%:R by rewrite divr_gt0 ?ltr0n.
have := hd (d / 2%:R); rewrite gt_eqF // gtr0_norm // => /(_ isT).
rewrite ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n => /(_ isT).
by rewrite ltNge m.
Qed.

(* h < 0 where the smooth part is least at 0: the infimum is k + h, and no
   point attains it *)
Theorem negative_price_not_attained : h < 0 -> 0 < a -> b = 0 ->
  (forall s, k + h < with_price s) /\
  (forall eps, 0 < eps -> exists s, with_price s < k + h + eps).
Proof.
move=> h0 a0 b0; split=> [s|eps e0].
- rewrite /with_price /smooth b0 mul0r addr0; have [->|s0] := eqVneq s 0.
    by rewrite expr0n /= !mulr0 add0r addr0 gtr_addl.
  rewrite /= mulr1 ltr_add2r ltr_addr mulr_gt0 //.
  by rewrite lt_def sqr_ge0 sqrf_eq0 s0.
- have [d d0 hd] := smooth_near e0; exists (d / 2%:R).
  have d2 : 0 < d / 2%:R by rewrite divr_gt0 ?ltr0n.
  rewrite /with_price gt_eqF //= mulr1 addrAC ltr_add2r.
  have := hd (d / 2%:R); rewrite gtr0_norm // => /(_ _).
  rewrite ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n => /(_ isT).
  rewrite ltr_norml => /andP[_]; rewrite ltr_subl_addl.
  by rewrite {2}/smooth expr0n /= !mulr0 !add0r.
Qed.

End Semicontinuity.
