(* Proposition 2: NetREX-CF is an instance of

       argmin over S of  L_data(E, S) + L_reg(S, P),

   where L_data minimises the activities A away (in closed form) and L_reg the
   latent factors X, Y. E is genes x samples, S genes x regulators, A
   regulators x samples, X and Y latent x genes and latent x regulators; the
   factor part depends on S through its support only. The theorems assume that
   its minimum is attained for every support. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame blocks ridge completed_square hard_threshold.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* the support of a network *)
Definition support_of (R : realFieldType) n m (S : 'M[R]_(n, m)) : 'M[bool]_(n, m) :=
  \matrix_(i, j) (S i j != 0).

(* Any factor part K(support, factors), any term c(S) without nuisance. *)
Section Network.
Variables (R : realFieldType) (n m l : nat) (E : 'M[R]_(n, l)) (lambda_a : R).
Variables (c : 'M[R]_(n, m) -> R) (T : Type) (K : 'M[bool]_(n, m) -> T -> R).
Hypothesis lambda_a_gt0 : 0 < lambda_a.

Definition full (u : 'M[R]_(n, m) * 'M[R]_(m, l) * T) : R :=
  reconstruction E u.1.1 lambda_a u.1.2 + (c u.1.1 + K (support_of u.1.1) u.2).

Variable Phi : 'M[bool]_(n, m) -> R.
Hypothesis Phi_min : forall Z, is_min (K Z) (Phi Z).

Definition reduced (S : 'M[R]_(n, m)) : R :=
  reconstruction_least E S lambda_a + (c S + Phi (support_of S)).

Theorem network_instance S A t :
  argmin (@free _) full (S, A, t) <->
  argmin (@free _) reduced S /\ A = activities E S lambda_a
  /\ K (support_of S) t = Phi (support_of S).
Proof.
have fm (S' : 'M[R]_(n, m)) : free S' ->
    is_min (reconstruction E S' lambda_a) (reconstruction_least E S' lambda_a).
  by move=> _; apply: reconstruction_is_min.
have gm (S' : 'M[R]_(n, m)) : free S' -> is_min (fun t => c S' + K (support_of S') t)
                               (c S' + Phi (support_of S')).
  move=> _; have [[x ex] h] := Phi_min (support_of S').
  by split; [exists x; rewrite ex | move=> y; rewrite ler_add2l].
have part := partial_minimisation fm gm S A t.
have unique : reconstruction E S lambda_a A = reconstruction_least E S lambda_a <->
              A = activities E S lambda_a.
  split=> [e|->]; last exact: reconstruction_at_activities.
  apply/(activities_argmin E S lambda_a_gt0); split=> // A' _.
  by rewrite e; have [_] := reconstruction_is_min E S lambda_a_gt0.
split.
- by move/part=> [h [/unique e /addrI k]].
- by case=> h [/unique e k]; apply/part; rewrite k.
Qed.

Theorem network_instance_some S :
  argmin (@free _) reduced S <-> exists A t, argmin (@free _) full (S, A, t).
Proof.
split=> [h|[A [t /network_instance[]]]] //.
have [[t e] _] := Phi_min (support_of S).
by exists (activities E S lambda_a), t; apply/network_instance.
Qed.

(* Existence of a minimiser, if each support has one for the smooth part and
   if Phi grows with the support: there are finitely many supports. *)
Definition within (Z : 'M[bool]_(n, m)) (S : 'M[R]_(n, m)) : Prop :=
  forall i j, S i j != 0 -> Z i j.
Definition smooth_part (S : 'M[R]_(n, m)) : R := reconstruction_least E S lambda_a + c S.

Theorem network_attained (best : 'M[bool]_(n, m) -> 'M[R]_(n, m)) :
  (forall Z, argmin (within Z) smooth_part (best Z)) ->
  (forall Z Z' : 'M[bool]_(n, m), (forall i j, Z i j -> Z' i j) -> Phi Z <= Phi Z') ->
  exists S, argmin (@free _) reduced S.
Proof.
move=> hb mono; pose v Z := smooth_part (best Z) + Phi Z.
case: (@arg_minP _ _ _ (const_mx false : 'M[bool]_(n, m)) xpredT v isT) => Z _ hZ.
exists (best Z); split=> // S _; rewrite /reduced !addrA.
have [bw _] := hb Z; have [_ bS] := hb (support_of S).
apply: (@le_trans _ _ (v Z)).
  rewrite /v ler_add2l; apply: mono => i j; rewrite mxE; exact: bw.
apply: le_trans (hZ (support_of S) isT) _; rewrite /v ler_add2r.
by apply: bS => i j; rewrite mxE.
Qed.

End Network.

Section Released.
Variables (R : realFieldType) (n m l d : nat) (E : 'M[R]_(n, l)).
Variables (P : 'M[bool]_(n, m)) (lam alpha beta : 'M[R]_(n, m)).
Variables (lambda_a lambda_s rho eta0 : R).
Hypothesis lambda_a_gt0 : 0 < lambda_a.
Hypothesis beta_neq0 : forall i j, beta i j != 0.
Hypothesis lambeta_ge0 : forall i j, 0 <= lam i j * beta i j.
Hypothesis eta0_ge0 : 0 <= eta0.

Definition factors : Type := ('M[R]_(d, n) * 'M[R]_(d, m))%type.

(* fit of the factors to support and prior, l0 weights, ridge on the factors *)
Definition factor_part (Z : 'M[bool]_(n, m)) (t : factors) : R :=
  (\sum_i \sum_j entry_cost (lam i j) (alpha i j) (beta i j)
     (released_eta (lam i j) (alpha i j) (beta i j) eta0 (P i j))
     (P i j) (Z i j) ((t.1^T *m t.2) i j))
  + rho * (norm2 t.1 + norm2 t.2).

Definition netrex_cf (u : 'M[R]_(n, m) * 'M[R]_(m, l) * factors) : R :=
  norm2 (E - u.1.1 *m u.1.2) + lambda_a * norm2 u.1.2 + lambda_s * norm2 u.1.1
  + factor_part (support_of u.1.1) u.2.

(* the same, with the edges that are on paying a price of at least eta0 *)
Theorem netrex_cf_completed_square S A t :
  netrex_cf (S, A, t) =
  norm2 (E - S *m A) + lambda_a * norm2 A + lambda_s * norm2 S
  + ((\sum_i \sum_j lam i j * alpha i j * ((P i j)%:R - (t.1^T *m t.2) i j) ^+ 2)
     + (\sum_i \sum_j price (lam i j) (alpha i j) (beta i j) eta0 (P i j)
                            ((t.1^T *m t.2) i j) * (S i j != 0)%:R)
     + rho * (norm2 t.1 + norm2 t.2)).
Proof.
rewrite /netrex_cf /factor_part /=; congr (_ + (_ + _)).
rewrite -big_split; apply: eq_bigr => i _ /=; rewrite -big_split.
apply: eq_bigr => j _ /=; rewrite completed_square //.
by rewrite [support_of S i j]mxE.
Qed.

Lemma factor_part_mono (Z Z' : 'M[bool]_(n, m)) t :
  (forall i j, Z i j -> Z' i j) -> factor_part Z t <= factor_part Z' t.
Proof.
move=> h; rewrite ler_add2r; apply: ler_sum => i _; apply: ler_sum => j _.
rewrite !completed_square // ler_add2l ler_wpmul2l //.
  exact: le_trans eta0_ge0 (price_ge _ _ _ _ (lambeta_ge0 i j)).
by rewrite ler_nat; have := h i j; case: (Z i j) => // ->.
Qed.

Section AttainedFactors.
Variable Phi : 'M[bool]_(n, m) -> R.
Hypothesis Phi_min : forall Z, is_min (factor_part Z) (Phi Z).

Definition L_data (S : 'M[R]_(n, m)) : R := reconstruction_least E S lambda_a.
Definition L_reg (S : 'M[R]_(n, m)) : R := lambda_s * norm2 S + Phi (support_of S).

Lemma full_netrex_cf u :
  full E lambda_a (fun S => lambda_s * norm2 S) factor_part u = netrex_cf u.
Proof. by rewrite /full /netrex_cf /reconstruction addrA. Qed.

Theorem proposition_2_released S A t :
  argmin (@free _) netrex_cf (S, A, t) <->
  argmin (@free _) (fun S => L_data S + L_reg S) S
  /\ A = activities E S lambda_a /\ factor_part (support_of S) t = Phi (support_of S).
Proof.
have ext := argmin_ext (S, A, t) (fun u (_ : free u) => full_netrex_cf u).
have inst := network_instance E (fun S => lambda_s * norm2 S) lambda_a_gt0 Phi_min S A t.
by split=> [/ext/inst|/inst/ext].
Qed.

Theorem proposition_2_released_some S :
  argmin (@free _) (fun S => L_data S + L_reg S) S <->
  exists A t, argmin (@free _) netrex_cf (S, A, t).
Proof.
have inst := network_instance_some E (fun S => lambda_s * norm2 S) lambda_a_gt0 Phi_min S.
split=> [/inst[A [t h]]|[A [t h]]].
  exists A, t; move: h; apply: (argmin_ext _ (fun u _ => full_netrex_cf u)).1.
apply/inst; exists A, t; move: h.
exact: (argmin_ext _ (fun u _ => full_netrex_cf u)).2.
Qed.

(* the price makes the least factor part grow with the support *)
Theorem Phi_mono (Z Z' : 'M[bool]_(n, m)) :
  (forall i j, Z i j -> Z' i j) -> Phi Z <= Phi Z'.
Proof.
move=> h; have [_ low] := Phi_min Z; have [[t <-] _] := Phi_min Z'.
exact: le_trans (low t) (factor_part_mono t h).
Qed.

Theorem proposition_2_attained (best : 'M[bool]_(n, m) -> 'M[R]_(n, m)) :
  (forall Z, argmin (within Z) (fun S => L_data S + lambda_s * norm2 S) (best Z)) ->
  exists S A t, argmin (@free _) netrex_cf (S, A, t).
Proof.
move=> hb; have [S h] := @network_attained R n m l E lambda_a
  (fun S => lambda_s * norm2 S) Phi best hb Phi_mono.
exists S; exact/proposition_2_released_some.
Qed.

End AttainedFactors.
End Released.

(* With any other l0 weights eta: an entry whose price is negative at the
   present factors is never off at a minimiser. *)
Section OtherWeights.
Variables (R : realFieldType) (n m l d : nat) (E : 'M[R]_(n, l)).
Variables (P : 'M[bool]_(n, m)) (lam alpha beta eta : 'M[R]_(n, m)).
Variables (lambda_a lambda_s rho : R).

Definition weighted_cost (Z : 'M[bool]_(n, m)) (Q : 'M[R]_(n, m)) : R :=
  \sum_i \sum_j entry_cost (lam i j) (alpha i j) (beta i j) (eta i j) (P i j) (Z i j) (Q i j).

Definition other_weights (u : 'M[R]_(n, m) * 'M[R]_(m, l) * factors R n m d) : R :=
  norm2 (E - u.1.1 *m u.1.2) + lambda_a * norm2 u.1.2 + lambda_s * norm2 u.1.1
  + (weighted_cost (support_of u.1.1) (u.2.1^T *m u.2.2)
     + rho * (norm2 u.2.1 + norm2 u.2.2)).

Lemma switch (S : 'M[R]_(n, m)) i j s Q : S i j = 0 ->
  weighted_cost (support_of (S + s *: delta_mx i j)) Q =
  weighted_cost (support_of S) Q
  + (entry_cost (lam i j) (alpha i j) (beta i j) (eta i j) (P i j) true (Q i j)
     - entry_cost (lam i j) (alpha i j) (beta i j) (eta i j) (P i j) false (Q i j))
    * (s != 0)%:R.
Proof.
move=> S0; rewrite /weighted_cost !pair_bigA (bigD1 (i, j)) //=.
rewrite [X in _ = X + _](bigD1 (i, j)) //= addrAC; congr (_ + _).
  rewrite !mxE S0 !eqxx mulr1 add0r; case: (s != 0).
    by rewrite mulr1 addrC subrK.
  by rewrite mulr0 addr0.
apply: eq_bigr => -[i' j'] /= ne; rewrite !mxE.
suff -> : (i' == i) && (j' == j) = false by rewrite mulr0 addr0.
by apply/negbTE; move: ne; rewrite xpair_eqE.
Qed.

Theorem negative_price_never_off (S : 'M[R]_(n, m)) A (t : factors R n m d) i j :
  S i j = 0 ->
  entry_cost (lam i j) (alpha i j) (beta i j) (eta i j) (P i j) true ((t.1^T *m t.2) i j)
  < entry_cost (lam i j) (alpha i j) (beta i j) (eta i j) (P i j) false ((t.1^T *m t.2) i j) ->
  ~ argmin (@free _) other_weights (S, A, t).
Proof.
move=> S0; rewrite -subr_lt0; set h := (X in X < 0) => h0 [_ best].
pose D : 'M[R]_(n, m) := delta_mx i j.
pose a := norm2 (D *m A) + lambda_s * norm2 D.
pose b := - (2%:R * inner (E - S *m A) (D *m A)) + lambda_s * (2%:R * inner S D).
pose k := other_weights (S, A, t).
have line s : other_weights (S + s *: D, A, t) = with_price a b k h s.
  have e : E - (S + s *: D) *m A = (E - S *m A) + (- s) *: (D *m A).
    by rewrite mulmxDl opprD addrA -scalemxAl scaleNr.
  rewrite /other_weights /= switch // -/h e.
  rewrite (norm2D (E - S *m A)) (norm2D S) !innerZr !norm2Z sqrrN /with_price /smooth /a /b /k /other_weights /=.
  move: (norm2 (E - S *m A)) (norm2 (D *m A)) (norm2 A) (norm2 S) (norm2 D).
  move: (inner (E - S *m A) (D *m A)) (inner S D) (weighted_cost _ _).
  move: (norm2 t.1) (norm2 t.2) ((s != 0)%:R) => x1 x2 x3 x4 x5 x6 x7 x8 x9 x10 x11.
  by ring.
have [e e0 he] := negative_price_beats_zero a b k h0.
have e2 : 0 < e / 2%:R by rewrite divr_gt0 ?ltr0n.
have := he (e / 2%:R); rewrite gt_eqF // gtr0_norm // => /(_ isT).
rewrite ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n => /(_ isT).
rewrite -!line scale0r addr0 ltNge => /negP; apply.
exact: best.
Qed.

End OtherWeights.

(* The sketched form, read with the indicator 1[Theta <> 0]: an l0 term with
   one weight, confidence conf, prior mask B, no ridge on the factors. *)
Section Sketched.
Variables (R : realFieldType) (n m l d : nat) (X : 'M[R]_(n, l)).
Variables (B : 'M[bool]_(n, m)) (conf : 'M[R]_(n, m)).
Variables (a1 a2 kappa lambda eta : R).
Hypothesis kappa_gt0 : 0 < kappa.

Definition sketched_factors (Z : 'M[bool]_(n, m)) (t : factors R n m d) : R :=
  \sum_i \sum_j sketched_cost a1 a2 (conf i j) (B i j) (Z i j)%:R ((t.1^T *m t.2) i j).

Definition l0 (Theta : 'M[R]_(n, m)) : R := \sum_i \sum_j (Theta i j != 0)%:R.

Definition sketched (u : 'M[R]_(n, m) * 'M[R]_(m, l) * factors R n m d) : R :=
  norm2 (X - u.1.1 *m u.1.2) + kappa * norm2 u.1.2 + lambda * norm2 u.1.1
  + eta * l0 u.1.1 + sketched_factors (support_of u.1.1) u.2.

Variable Psi : 'M[bool]_(n, m) -> R.
Hypothesis Psi_min : forall Z, is_min (sketched_factors Z) (Psi Z).

Theorem proposition_2_sketched Theta A t :
  argmin (@free _) sketched (Theta, A, t) <->
  argmin (@free _)
    (fun S => (reconstruction_least X S kappa + lambda * norm2 S + eta * l0 S)
              + Psi (support_of S)) Theta
  /\ A = activities X Theta kappa
  /\ sketched_factors (support_of Theta) t = Psi (support_of Theta).
Proof.
pose c (S : 'M[R]_(n, m)) := lambda * norm2 S + eta * l0 S.
have same u : full X kappa c sketched_factors u = sketched u.
  by rewrite /full /sketched /reconstruction /c !addrA.
have same' S : reduced X kappa c Psi S =
    reconstruction_least X S kappa + lambda * norm2 S + eta * l0 S + Psi (support_of S).
  by rewrite /reduced /c !addrA.
have ext := argmin_ext (Theta, A, t) (fun u (_ : free u) => same u).
have ext' := argmin_ext Theta (fun S (_ : free S) => same' S).
have inst := network_instance X c kappa_gt0 Psi_min Theta A t.
split=> [/ext/inst[/ext' h e] //|[h e]].
by apply/ext/inst; split=> //; apply/ext'.
Qed.

End Sketched.

(* Attainment is a condition: with a zero weight and no ridge on the factors
   it can fail. Rank one, two genes, two regulators, targets 1, 1 and 0 with
   the fourth entry unweighted. *)
Section NotAttained.
Variable R : realFieldType.

Definition unridged (x1 x2 y1 y2 : R) : R :=
  (1 - x1 * y2) ^+ 2 + (1 - x2 * y1) ^+ 2 + (x2 * y2) ^+ 2.

Theorem no_ridge_not_attained :
  (forall x1 x2 y1 y2, 0 < unridged x1 x2 y1 y2) /\
  (forall eps, 0 < eps -> exists x1 x2 y1 y2, unridged x1 x2 y1 y2 < eps).
Proof.
split=> [x1 x2 y1 y2|eps e0].
- rewrite lt_def !addr_ge0 ?sqr_ge0 // andbT.
  rewrite !paddr_eq0 ?addr_ge0 ?sqr_ge0 // !sqrf_eq0 !subr_eq0 mulf_eq0.
  apply/negP => /andP[/andP[/eqP e1 /eqP e2] /orP[/eqP z|/eqP z]].
    by move: e2; rewrite z mul0r => /eqP; rewrite oner_eq0.
  by move: e1; rewrite z mulr0 => /eqP; rewrite oner_eq0.
- pose s := Num.min 1 eps / 2%:R.
  have s0 : 0 < s by rewrite divr_gt0 ?ltr0n // lt_minr ltr01.
  have lt2 (x : R) : 0 < x -> x / 2%:R < x.
    by move=> x0; rewrite ltr_pdivr_mulr ?ltr0n // ltr_pmulr // ltr1n.
  have m0 : 0 < Num.min 1 eps by rewrite lt_minr ltr01.
  have s1 : s < 1 by apply: lt_le_trans (lt2 _ m0) _; rewrite le_minl lexx.
  have se : s < eps by apply: lt_le_trans (lt2 _ m0) _; rewrite le_minl lexx orbT.
  clearbody s; clear lt2 m0.
  exists s^-1, s, s^-1, s; rewrite /unridged mulVf ?mulfV ?gt_eqF //.
  rewrite subrr expr0n /= !add0r; apply: le_lt_trans se.
  have ss : s * s <= s by rewrite ger_pmulr // ltW.
  rewrite expr2; apply: (le_trans _ ss); rewrite ger_pmulr ?mulr_gt0 //.
  exact: (le_trans ss (ltW s1)).
Qed.

End NotAttained.

(* The two forms part: with all other constants alike, one price for all edges
   is another objective than the released prices. The sketched objective, whose
   weights are those of the release without a ridge on the factors, lacks what
   the release charges for the edges that the prior does not name. *)
Section SketchAndRelease.
Variables (R : realFieldType) (n m l d : nat) (E : 'M[R]_(n, l)).
Variables (P : 'M[bool]_(n, m)) (lam alpha beta conf : 'M[R]_(n, m)).
Variables (a1 a2 lambda_a lambda_s eta0 : R).
Hypothesis conf_alike : forall i j, lam i j * alpha i j = conf i j.
Hypothesis on_alike : forall i j, P i j -> lam i j * beta i j = a1 * conf i j.
Hypothesis off_alike : forall i j, ~~ P i j -> lam i j * beta i j = a2.

Let release := @netrex_cf R n m l d E P lam alpha beta lambda_a lambda_s 0 eta0.
Let sketch := @sketched R n m l d E P conf a1 a2 lambda_a lambda_s eta0.

Definition unnamed_price (S : 'M[R]_(n, m)) : R :=
  \sum_i \sum_j ((S i j != 0) && ~~ P i j)%:R * (conf i j * (1 + alpha i j / beta i j)).

Theorem sketch_and_release_gap u : release u = sketch u + unnamed_price u.1.1.
Proof.
rewrite /release /sketch /netrex_cf /sketched /factor_part /sketched_factors /l0 /unnamed_price.
rewrite mul0r addr0 -!addrA; do 3!congr (_ + _).
rewrite mulr_sumr -!big_split; apply: eq_bigr => i _ /=.
rewrite mulr_sumr -!big_split; apply: eq_bigr => j _ /=.
have w z : lam i j * (alpha i j + beta i j * z) = conf i j + lam i j * beta i j * z.
  by rewrite mulrDr mulrA conf_alike.
rewrite /entry_cost /released_eta /sketched_cost [support_of _ _ _]mxE w conf_alike.
have := @on_alike i j; have := @off_alike i j.
move: (_ / _) (_ *m _) => x Q.
by case: (P i j) => [_ /(_ isT) ->|/(_ isT) -> _]; case: (u.1.1 i j != 0) => /=; ring.
Qed.

(* they agree on networks within the prior, and on no other *)
Theorem sketch_and_release_part u :
  (forall i j, 0 < conf i j) -> (forall i j, 0 <= alpha i j) -> (forall i j, 0 < beta i j) ->
  (release u = sketch u <-> within P u.1.1) /\ sketch u <= release u.
Proof.
move=> c0 a0 b0; rewrite sketch_and_release_gap.
have p0 i j : 0 < conf i j * (1 + alpha i j / beta i j).
  by rewrite mulr_gt0 // ltr_paddr ?ltr01 ?divr_ge0 // ltW.
have t0 i j : 0 <= ((u.1.1 i j != 0) && ~~ P i j)%:R * (conf i j * (1 + alpha i j / beta i j)).
  by rewrite mulr_ge0 ?ler0n // ltW.
split; last by rewrite ler_addl; do 2!(apply: sumr_ge0 => ? _).
split=> [/eqP|w].
- rewrite -subr_eq0 addrC addKr => /eqP h i j ij; apply/negPn/negP => pij.
  have /eqP := h; rewrite psumr_eq0; last by move=> k _; apply: sumr_ge0.
  move/allP/(_ i (mem_index_enum _)) => /=; rewrite psumr_eq0 //.
  by move/allP/(_ j (mem_index_enum _)); rewrite /= ij pij mul1r gt_eqF.
- rewrite /unnamed_price big1 ?addr0 // => i _; rewrite big1 // => j _.
  have := w i j; case: (u.1.1 i j != 0) => /=; last by rewrite mul0r.
  by move=> /(_ isT) ->; rewrite mul0r.
Qed.

End SketchAndRelease.

(* The prox of the factor part in the network: a hard threshold of every entry at the price that the
   factors set, by the completed square. Ties may go either way. *)
Section Threshold.
Variables (R : realFieldType) (n m d : nat).
Variables (P : 'M[bool]_(n, m)) (lam alpha beta : 'M[R]_(n, m)) (rho eta0 : R).
Variables (f : factors R n m d) (step : R) (V : 'M[R]_(n, m)).
Hypothesis step_gt0 : 0 < step.
Hypothesis beta_neq0 : forall i j, beta i j != 0.
Hypothesis lambeta_ge0 : forall i j, 0 <= lam i j * beta i j.
Hypothesis eta0_ge0 : 0 <= eta0.

Definition edge_price i j : R :=
  price (lam i j) (alpha i j) (beta i j) eta0 (P i j) ((f.1^T *m f.2) i j).
Definition proximal (S : 'M[R]_(n, m)) : R :=
  norm2 (S - V) / (2%:R * step) + factor_part P lam alpha beta rho eta0 (support_of S) f.

Lemma edge_price_ge0 i j : 0 <= edge_price i j.
Proof. exact: le_trans eta0_ge0 (price_ge _ _ _ _ (lambeta_ge0 i j)). Qed.

Lemma proximal_entries S : proximal S =
  (\sum_i \sum_j priced step (edge_price i j) (V i j) (S i j))
  + (\sum_i \sum_j lam i j * alpha i j * ((P i j)%:R - (f.1^T *m f.2) i j) ^+ 2
     + rho * (norm2 f.1 + norm2 f.2)).
Proof.
rewrite /proximal /factor_part /norm2 mulr_suml !addrA; congr (_ + _).
rewrite -!big_split; apply: eq_bigr => i _ /=; rewrite mulr_suml -!big_split.
apply: eq_bigr => j _ /=; rewrite completed_square // /priced /edge_price !mxE.
by rewrite [RHS]addrAC -addrA.
Qed.

Theorem filter_threshold S : argmin (@free _) proximal S <->
  forall i j, (S i j = 0 /\ V i j ^+ 2 <= 2%:R * step * edge_price i j) \/
              (S i j = V i j /\ 2%:R * step * edge_price i j <= V i j ^+ 2).
Proof.
pose F i j := priced step (edge_price i j) (V i j).
have each i j x := hard_threshold (V i j) step_gt0 (edge_price_ge0 i j) x.
split=> [[_ h] i j|h].
- apply/each; split=> // x _.
  pose S' : 'M[R]_(n, m) := \matrix_(k, s) (if (k == i) && (s == j) then x else S k s).
  have := h S' I; rewrite !proximal_entries ler_add2r !pair_bigA (bigD1 (i, j)) //=.
  rewrite [X in _ <= X](bigD1 (i, j)) //= [S' i j]mxE !eqxx /=.
  set rest := \sum_(p | _) _; set rest' := \sum_(p | _) _.
  suff -> : rest' = rest by rewrite ler_add2r.
  apply: eq_bigr => -[k s] /= ne; rewrite [S' k s]mxE.
  by move: ne; rewrite xpair_eqE => /negbTE ->.
- split=> // S' _; rewrite !proximal_entries ler_add2r.
  apply: ler_sum => i _; apply: ler_sum => j _.
  by have [_] := (each i j (S i j)).2 (h i j); apply.
Qed.

End Threshold.
