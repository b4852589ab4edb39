(* Proposition 1: regressions on the prior's support are instances of

       argmin  L_data(X, Theta) + L_reg(Theta)   subject to  supp Theta in P.

   X is cells x regulators, Y cells x targets, Theta regulators x targets,
   theta0 one intercept a target. Each target has its own row weights (a
   bootstrap sample of the cells) and its own set of allowed regulators (the
   prior's, without the target itself, or those that a bag drew from them). *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From unigrn Require Import frame separation support bootstrap ridge centring.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section MaskedRegression.
Variables (R : realFieldType) (n q p : nat).
Variables (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, p)).
Variables (w : 'I_p -> 'rV[R]_n) (allowed : 'I_p -> {set 'I_q}).
Variable r : 'I_p -> 'I_q -> R -> R.
Hypothesis w_gt0 : forall j, 0 < total (w j).
Hypothesis r0 : forall j k, r j k 0 = 0.

Definition parameters : Type := ('rV[R]_p * 'M[R]_(q, p))%type.

Definition L_data (u : parameters) : R :=
  \sum_j \sum_i w j 0 i * (Y i j - u.1 0 j - (X *m u.2) i j) ^+ 2.
Definition L_reg (u : parameters) : R := \sum_j \sum_k r j k (u.2 k j).
Definition in_support (u : parameters) : Prop :=
  forall j k, k \notin allowed j -> u.2 k j = 0.

(* one target: centred response, centred design on the allowed regulators *)
Definition response j : 'cV[R]_n := centred_y (w j) (col j Y).
Definition design j : 'M[R]_(n, #|allowed j|) := centred_x (w j) (delete (allowed j) X).
Definition target_objective j (b : 'cV[R]_#|allowed j|) : R :=
  wnorm2 (w j) (response j - design j *m b)
  + \sum_(k < #|allowed j|) r j (enum_val k) (b k 0).
Definition target_intercept j (theta : 'cV[R]_q) : R :=
  best_intercept (w j) X (col j Y) theta.

Lemma design_delete j : design j = delete (allowed j) (centred_x (w j) X).
Proof.
apply/matrixP => i k; rewrite !mxE; congr (_ - _); rewrite /mean.
by congr (_ / _); apply: eq_bigr => s _; rewrite mxE.
Qed.

Theorem masked_regression_instance u :
  argmin in_support (fun v => L_data v + L_reg v) u <->
  forall j, supported (allowed j) (col j u.2)
            /\ argmin (@free _) (@target_objective j) (restrict (allowed j) (col j u.2))
            /\ u.1 0 j = target_intercept j (col j u.2).
Proof.
pose T := (R * 'cV[R]_q)%type.
pose pen j (t : 'cV[R]_q) : R := \sum_k r j k (t k 0).
pose C j (v : T) := supported (allowed j) v.2.
pose f j (v : T) : R := with_intercept (w j) X (col j Y) (pen j) v.
pose part (v : parameters) j : T := (v.1 0 j, col j v.2).
pose assemble (c : 'I_p -> T) : parameters :=
  (\row_j (c j).1, \matrix_(k, j) (c j).2 k 0).
have pa c j : part (assemble c) j = c j.
  rewrite /part /assemble /= mxE [RHS]surjective_pairing; congr (_, _).
  by apply/colP => k; rewrite !mxE.
have sep := @parts_separate R _ (fun=> T) _ C f part assemble pa u.
have same v : L_data v + L_reg v = \sum_j f j (part v j).
  rewrite /L_data /L_reg -big_split; apply: eq_bigr => j _ /=; congr (_ + _).
    apply: eq_bigr => i _; rewrite !mxE; congr (_ * (_ - _) ^+ 2).
    by apply: eq_bigr => k _; rewrite mxE.
  by apply: eq_bigr => k _; rewrite mxE.
have inC v : in_support v <-> forall j, C j (part v j).
  split=> h j k; first by rewrite mxE; apply: h.
  by move=> kj; have := h j k kj; rewrite mxE.
have -> : argmin in_support (fun v => L_data v + L_reg v) u <->
          argmin (fun v => forall j, C j (part v j)) (fun v => \sum_j f j (part v j)) u.
  split=> -[Cu h]; split; try exact/inC.
    by move=> v /inC Cv; rewrite -!same; apply: h.
  by move=> v /inC Cv; rewrite !same; apply: h.
have one j : argmin (C j) (f j) (part u j) <->
   supported (allowed j) (col j u.2)
   /\ argmin (@free _) (@target_objective j) (restrict (allowed j) (col j u.2))
   /\ u.1 0 j = target_intercept j (col j u.2).
  have cen := centring_is_an_intercept (w_gt0 j) X (col j Y)
                (supported (allowed j)) (pen j) (u.1 0 j) (col j u.2).
  pose loss v : R := wnorm2 (w j) (response j - v).
  have del := @masked_regression_is_deletion R q (allowed j) n (centred_x (w j) X)
                loss (r j) (r0 j) (col j u.2).
  have eqo b : deleted (centred_x (w j) X) loss (r j) b = @target_objective j b.
    by rewrite /deleted /target_objective /loss design_delete.
  have ext := argmin_ext (restrict (allowed j) (col j u.2))
                (fun b (_ : free b) => eqo b).
  split=> [/cen[/del[st /ext m] e] //|[st [/ext m e]]].
  by apply/cen; split=> //; apply/del.
by split=> [/sep h j|h]; [apply/one | apply/sep => j; apply/one].
Qed.

End MaskedRegression.

(* The released form: ridge in each bag, with the closed form of its solution. *)
Section Ridge.
Variables (R : realFieldType) (n q p : nat).
Variables (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, p)) (alpha : R).
Hypothesis alpha_gt0 : 0 < alpha.

Definition ridge_frame (w : 'I_p -> 'rV[R]_n) (u : parameters R q p) : R :=
  L_data X Y w u + alpha * norm2 u.2.

(* (A' W A + alpha I)^-1 A' W t with A, t centred by the weights *)
Definition released_ridge (w : 'I_p -> 'rV[R]_n) (allowed : 'I_p -> {set 'I_q}) j : 'cV[R]_#|allowed j| :=
  ridge_solution (w j) (design X w allowed j) (response Y w j) alpha.

Theorem proposition_1_ridge (w : 'I_p -> 'rV[R]_n) (allowed : 'I_p -> {set 'I_q}) u :
  (forall j i, 0 <= w j 0 i) -> (forall j, 0 < total (w j)) ->
  argmin (in_support allowed) (ridge_frame w) u <->
  forall j, col j u.2 = embed (released_ridge w allowed j)
            /\ u.1 0 j = target_intercept X Y w j (col j u.2).
Proof.
move=> w0 wt; pose r (_ : 'I_p) (_ : 'I_q) (x : R) := alpha * x ^+ 2.
have r0 j k : r j k 0 = 0 by rewrite /r expr0n /= mulr0.
have same v : ridge_frame w v = L_data X Y w v + L_reg r v.
  rewrite /ridge_frame /L_reg; congr (_ + _); rewrite /norm2 exchange_big mulr_sumr.
  by apply: eq_bigr => j _; rewrite mulr_sumr.
have ext := argmin_ext u (fun v (_ : in_support allowed v) => same v).
have inst := @masked_regression_instance R n q p X Y w allowed r wt r0 u.
have obj j b : target_objective X Y w r b =
    ridge (w j) (design X w allowed j) (response Y w j) alpha b.
  rewrite /target_objective /ridge; congr (_ + _); rewrite /norm2 mulr_sumr.
  by apply: eq_bigr => k _; rewrite big_ord1.
have one j : argmin (@free _) (@target_objective _ _ _ _ X Y w allowed r j)
               (restrict (allowed j) (col j u.2)) <->
             restrict (allowed j) (col j u.2) = released_ridge w allowed j.
  have e := argmin_ext (restrict (allowed j) (col j u.2)) (fun b (_ : free b) => obj j b).
  have s := ridge_argmin (design X w allowed j) (response Y w j) (w0 j) alpha_gt0
              (restrict (allowed j) (col j u.2)).
  by split=> [/e/s|/s/e].
split=> [/ext/inst h j|h].
- have [st [/one m e]] := h j; split=> //.
  by rewrite -m embed_restrict.
- apply/ext/inst => j; have [e i] := h j; split; last split=> //.
    by rewrite e; apply: embed_supported.
  by apply/one; rewrite e restrict_embed.
Qed.

(* One bag as the released program fits it: N rows drawn with replacement,
   unweighted ridge with an intercept on them. *)
Theorem bag_is_weighted_ridge N (draw : 'I_N -> 'I_n) k (Z : 'M[R]_(n, k)) (y : 'cV[R]_n) c b :
  (0 < N)%N ->
  let w : 'rV[R]_n := \row_i (drawn draw i)%:R in
  argmin (@free _) (fun u : R * 'cV[R]_k =>
    \sum_(s < N) (y (draw s) 0 - u.1 - (Z *m u.2) (draw s) 0) ^+ 2 + alpha * norm2 u.2) (c, b) <->
  b = ridge_solution w (centred_x w Z) (centred_y w y) alpha /\ c = best_intercept w Z y b.
Proof.
move=> N0 w; have w0 i : 0 <= w 0 i by rewrite mxE ler0n.
have wt : 0 < total w.
  rewrite /total (eq_bigr (fun i => (drawn draw i)%:R)); last by move=> i _; rewrite mxE.
  by rewrite -natr_sum drawn_total ltr0n.
have boot := @bootstrap_argmin R N n draw _ (@free _)
  (fun i (u : R * 'cV[R]_k) => (y i 0 - u.1 - (Z *m u.2) i 0) ^+ 2)
  (fun u => alpha * norm2 u.2) (c, b).
have cen := centring_is_an_intercept wt Z y (@free _) (fun t => alpha * norm2 t) c b.
have rid := ridge_argmin (centred_x w Z) (centred_y w y) w0 alpha_gt0 b.
have same (u : R * 'cV[R]_k) :
    \sum_(i < n) (drawn draw i)%:R * (y i 0 - u.1 - (Z *m u.2) i 0) ^+ 2 + alpha * norm2 u.2
    = with_intercept w Z y (fun t => alpha * norm2 t) u.
  by rewrite /with_intercept; congr (_ + _); apply: eq_bigr => i _; rewrite [w 0 i]mxE.
have ext := argmin_ext (c, b) (fun u (_ : free u) => same u).
split=> [/boot/ext/cen[/rid e ->] //|[/rid e1 e2]].
by apply/boot/ext/cen.
Qed.

(* A bag of the whole network: the framed problem with the counts as weights
   has the minimisers of the released regressions on the drawn rows and the
   drawn regulators, target by target. *)
Theorem proposition_1_bag N (draw : 'I_p -> 'I_N -> 'I_n)
    (allowed : 'I_p -> {set 'I_q}) u :
  (0 < N)%N ->
  argmin (in_support allowed) (ridge_frame (fun j => \row_i (drawn (draw j) i)%:R)) u <->
  forall j, supported (allowed j) (col j u.2) /\
    argmin (@free _) (fun v : R * 'cV[R]_#|allowed j| =>
      \sum_(s < N) (Y (draw j s) j - v.1 - (delete (allowed j) X *m v.2) (draw j s) 0) ^+ 2
      + alpha * norm2 v.2) (u.1 0 j, restrict (allowed j) (col j u.2)).
Proof.
move=> N0; set w := (fun j : 'I_p => _).
have w0 j i : 0 <= w j 0 i by rewrite mxE ler0n.
have wt j : 0 < total (w j).
  rewrite /total (eq_bigr (fun i => (drawn (draw j) i)%:R)); last by move=> i _; rewrite mxE.
  by rewrite -natr_sum drawn_total ltr0n.
have inter j b : best_intercept (w j) (delete (allowed j) X) (col j Y) b =
                 target_intercept X Y w j (embed b).
  rewrite /target_intercept /best_intercept; congr (_ - _).
  rewrite (delete_embed (mean_x (w j) X)).
  have -> : mean_x (w j) (delete (allowed j) X) = delete (allowed j) (mean_x (w j) X).
    apply/rowP => k; rewrite [LHS]mxE [RHS]mxE [RHS]mxE /mean.
    by congr (_ / _); apply: eq_bigr => i _; rewrite [delete _ _ _ _]mxE.
  by [].
have one j : argmin (@free _) (fun v : R * 'cV[R]_#|allowed j| =>
      \sum_(s < N) (Y (draw j s) j - v.1 - (delete (allowed j) X *m v.2) (draw j s) 0) ^+ 2
      + alpha * norm2 v.2) (u.1 0 j, restrict (allowed j) (col j u.2)) <->
    restrict (allowed j) (col j u.2) = released_ridge w allowed j
    /\ u.1 0 j = target_intercept X Y w j (embed (restrict (allowed j) (col j u.2))).
  have bag := bag_is_weighted_ridge (draw j) (delete (allowed j) X) (col j Y)
                (u.1 0 j) (restrict (allowed j) (col j u.2)) N0.
  have same (v : R * 'cV[R]_#|allowed j|) :
      \sum_(s < N) (col j Y (draw j s) 0 - v.1
                    - (delete (allowed j) X *m v.2) (draw j s) 0) ^+ 2 + alpha * norm2 v.2 =
      \sum_(s < N) (Y (draw j s) j - v.1
                    - (delete (allowed j) X *m v.2) (draw j s) 0) ^+ 2 + alpha * norm2 v.2.
    by congr (_ + _); apply: eq_bigr => s _; rewrite [col j Y _ _]mxE.
  have ext := argmin_ext (u.1 0 j, restrict (allowed j) (col j u.2))
                (fun v (_ : free v) => same v).
  by rewrite -inter; split=> [/ext/bag|/bag/ext].
have fr := proposition_1_ridge allowed u w0 wt.
split=> [/fr h j|h].
- have [e i] := h j; have st : supported (allowed j) (col j u.2).
    by rewrite e; apply: embed_supported.
  by split=> //; apply/one; rewrite embed_restrict // -i e restrict_embed.
- apply/fr => j; have [st /one[e i]] := h j.
  by rewrite -e embed_restrict // i embed_restrict.
Qed.

(* Bags: the released weight is the mean over the bags that drew the edge. *)
Section Bags.
Variables (B : finType) (w : B -> 'I_p -> 'rV[R]_n) (F : B -> 'I_p -> {set 'I_q}).
Hypothesis w_ge0 : forall b j i, 0 <= w b j 0 i.
Hypothesis w_gt0 : forall b j, 0 < total (w b j).

Definition bags_drawn j k : nat := #|[set b | k \in F b j]|.
Definition released_weight k j : R :=
  (\sum_(b | k \in F b j) (embed (released_ridge (w b) (F b) j)) k 0)
  / (bags_drawn j k)%:R.

Theorem proposition_1_bagged (u : B -> parameters R q p) :
  (forall b, argmin (in_support (F b)) (ridge_frame (w b)) (u b)) ->
  forall k j, released_weight k j =
              (\sum_(b | k \in F b j) (u b).2 k j) / (bags_drawn j k)%:R.
Proof.
move=> h k j; congr (_ / _); apply: eq_bigr => b _.
have [e _] := (proposition_1_ridge (F b) (u b) (w_ge0 b) (w_gt0 b)).1 (h b) j.
by rewrite -e mxE.
Qed.

(* zeros in place of the bags that did not draw the edge shrink the mean *)
Theorem zero_filled_bags (u : B -> parameters R q p) k j :
  (forall b, in_support (F b) (u b)) -> (0 < bags_drawn j k)%N ->
  (\sum_b (u b).2 k j) / #|B|%:R =
  (bags_drawn j k)%:R / #|B|%:R
  * ((\sum_(b | k \in F b j) (u b).2 k j) / (bags_drawn j k)%:R).
Proof.
move=> h m0; have m1 : (bags_drawn j k)%:R != 0 :> R by rewrite pnatr_eq0 -lt0n.
rewrite (bigID (fun b => k \in F b j)) /= [X in _ + X]big1 ?addr0; last first.
  by move=> b kb; apply: h.
by rewrite [RHS]mulrC mulrA divfK.
Qed.

End Bags.
(* The released weight, from what its program does: in each bag an unweighted ridge with intercept
   on the drawn rows and the drawn regulators of each target; then the mean over the bags that drew
   the regulator. *)
Theorem released_weight_of_draws (B : finType) N (draw : B -> 'I_p -> 'I_N -> 'I_n)
    (F : B -> 'I_p -> {set 'I_q}) (fit : forall b j, R * 'cV[R]_#|F b j|) :
  (0 < N)%N ->
  (forall b j, argmin (@free _) (fun v : R * 'cV[R]_#|F b j| =>
     \sum_(s < N) (Y (draw b j s) j - v.1 - (delete (F b j) X *m v.2) (draw b j s) 0) ^+ 2
     + alpha * norm2 v.2) (fit b j)) ->
  forall k j, released_weight (fun b j => \row_i (drawn (draw b j) i)%:R) F k j =
    (\sum_(b | k \in F b j) (embed (fit b j).2) k 0) / (bags_drawn F j k)%:R.
Proof.
move=> N0 best k j; set w := (fun (b : B) (j : 'I_p) => _).
have w0 b i s : 0 <= w b i 0 s by rewrite mxE ler0n.
have wt b i : 0 < total (w b i).
  rewrite /total (eq_bigr (fun s => (drawn (draw b i) s)%:R)); last by move=> s _; rewrite mxE.
  by rewrite -natr_sum drawn_total ltr0n.
pose u b : parameters R q p :=
  (\row_i (fit b i).1, \matrix_(s, i) (embed (fit b i).2) s 0).
have col_u b i : col i (u b).2 = embed (fit b i).2 by apply/colP => s; rewrite !mxE.
rewrite (@proposition_1_bagged B w F w0 wt u); last first.
  move=> b; apply/(proposition_1_bag (draw b) (F b) (u b) N0) => i; rewrite col_u.
  split; first exact: embed_supported.
  by rewrite restrict_embed mxE -surjective_pairing.
by congr (_ / _); apply: eq_bigr => b _; rewrite mxE.
Qed.

End Ridge.

(* The sketched form: a lasso with a noise variance s2 j per target. *)
Section Lasso.
Variables (R : realFieldType) (n q p : nat).
Variables (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, p)) (s2 : 'I_p -> R) (lambda : R).
Variable allowed : 'I_p -> {set 'I_q}.
Hypothesis n_gt0 : (0 < n)%N.
Hypothesis s2_gt0 : forall j, 0 < s2 j.

Definition lasso_frame (u : parameters R q p) : R :=
  \sum_j \sum_i (Y i j - u.1 0 j - (X *m u.2) i j) ^+ 2 / (2%:R * s2 j)
  + lambda * \sum_k \sum_j `|u.2 k j|.

Definition noise_weight j : 'rV[R]_n := const_mx (2%:R * s2 j)^-1.

Definition target_lasso j (b : 'cV[R]_#|allowed j|) : R :=
  norm2 (response Y noise_weight j - design X noise_weight allowed j *m b) / (2%:R * s2 j)
  + lambda * \sum_(k < #|allowed j|) `|b k 0|.

Theorem proposition_1_lasso u :
  argmin (in_support allowed) lasso_frame u <->
  forall j, supported (allowed j) (col j u.2)
            /\ argmin (@free _) (@target_lasso j) (restrict (allowed j) (col j u.2))
            /\ u.1 0 j = target_intercept X Y noise_weight j (col j u.2).
Proof.
pose r (_ : 'I_p) (_ : 'I_q) (x : R) := lambda * `|x|.
have r0 j k : r j k 0 = 0 by rewrite /r normr0 mulr0.
have wt j : 0 < total (noise_weight j).
  rewrite /total (eq_bigr (fun=> (2%:R * s2 j)^-1)); last by move=> i _; rewrite mxE.
  by rewrite sumr_const card_ord pmulrn_lgt0 // invr_gt0 mulr_gt0 ?ltr0n.
have same v : lasso_frame v = L_data X Y noise_weight v + L_reg r v.
  rewrite /lasso_frame /L_data /L_reg; congr (_ + _).
    by apply: eq_bigr => j _; apply: eq_bigr => i _; rewrite [noise_weight j 0 i]mxE mulrC.
  rewrite exchange_big mulr_sumr; apply: eq_bigr => j _.
  by rewrite mulr_sumr.
have ext := argmin_ext u (fun v (_ : in_support allowed v) => same v).
have inst := @masked_regression_instance R n q p X Y noise_weight allowed r wt r0 u.
have obj j b : target_objective X Y noise_weight r b = @target_lasso j b.
  rewrite /target_objective /target_lasso; congr (_ + _); last by rewrite mulr_sumr.
  rewrite /norm2 mulr_suml; apply: eq_bigr => i _.
  by rewrite [noise_weight j 0 i]mxE mulrC.
have e j := argmin_ext (restrict (allowed j) (col j u.2)) (fun b (_ : free b) => obj j b).
split=> [/ext/inst h j|h].
- by have [st [/e m i]] := h j.
- by apply/ext/inst => j; have [st [/e m i]] := h j.
Qed.

End Lasso.

(* Units. With every regulator divided by its scale, the problem is that of the regulators as they
   are, whose coefficients are divided by the scales and pay for it. *)
Section Units.
Variables (R : realFieldType) (n q p : nat).
Variables (X : 'M[R]_(n, q)) (Y : 'M[R]_(n, p)) (w : 'I_p -> 'rV[R]_n).
Variables (allowed : 'I_p -> {set 'I_q}) (r : 'I_p -> 'I_q -> R -> R) (scale : 'I_q -> R).
Hypothesis scale_neq0 : forall k, scale k != 0.

Definition scaled : 'M[R]_(n, q) := \matrix_(i, k) (X i k / scale k).
Definition in_units (u : parameters R q p) : parameters R q p :=
  (u.1, \matrix_(k, j) (u.2 k j / scale k)).
Definition out_of_units (u : parameters R q p) : parameters R q p :=
  (u.1, \matrix_(k, j) (u.2 k j * scale k)).

Lemma scaled_mul (B : 'M[R]_(q, p)) : scaled *m B = X *m (\matrix_(k, j) (B k j / scale k)).
Proof.
apply/matrixP => i j; rewrite !mxE; apply: eq_bigr => k _; rewrite !mxE.
by rewrite mulrAC mulrA.
Qed.

Theorem scaling_is_a_penalty :
  equivalent (in_support allowed) (fun u => L_data scaled Y w u + L_reg r u)
    (in_support allowed)
    (fun u => L_data X Y w u + L_reg (fun j k x => r j k (x * scale k)) u)
    in_units out_of_units.
Proof.
have reg u : L_reg (fun j k x => r j k (x * scale k)) (in_units u) = L_reg r u.
  by apply: eq_bigr => j _; apply: eq_bigr => k _; rewrite mxE divfK.
have data u : L_data X Y w (in_units u) = L_data scaled Y w u.
  apply: eq_bigr => j _; apply: eq_bigr => i _.
  by rewrite scaled_mul.
have back u : in_units (out_of_units u) = u.
  case: u => c B; congr (_, _); apply/matrixP => k j.
  by rewrite !mxE mulfK.
split=> [u h j k kj|u _|u h j k kj|u _]; rewrite ?mxE ?h ?mul0r //.
  by rewrite reg data.
by rewrite -reg -data back.
Qed.

End Units.

(* No edge from a gene to itself: the support without it. *)
Theorem self_edges_are_support (R : realFieldType) q p (P : 'I_p -> {set 'I_q})
    (self : 'I_p -> {set 'I_q}) (u : parameters R q p) :
  in_support (fun j => P j :\: self j) u <->
  in_support P u /\ forall j k, k \in self j -> u.2 k j = 0.
Proof.
split=> [h|[h s] j k]; last by rewrite inE negb_and negbK => /orP[/s|/h].
by split=> j k kj; apply: h; rewrite inE ?kj // (negbTE kj) andbF.
Qed.

(* Fitting without the mask and cutting afterwards is another method: two
   identical regulators x1 = x2 = y = 1 in one cell, alpha = 1, only the first
   in the prior. *)
Section LeakedSupport.
Variable R : realFieldType.

Definition two_regulators (v : R * R) : R :=
  (1 - v.1 - v.2) ^+ 2 + (v.1 ^+ 2 + v.2 ^+ 2).
Definition one_regulator (x : R) : R := (1 - x) ^+ 2 + x ^+ 2.

Theorem leaked_support :
  argmin (@free _) two_regulators (3%:R^-1, 3%:R^-1) /\
  ~ argmin (@free _) one_regulator 3%:R^-1.
Proof.
have n3 : (3%:R : R) != 0 by rewrite pnatr_eq0.
have n2 : (2%:R : R) != 0 by rewrite pnatr_eq0.
split.
- split=> // -[x y] _.
  have -> : two_regulators (x, y) = two_regulators (3%:R^-1, 3%:R^-1)
      + ((x - 3%:R^-1) ^+ 2 + (y - 3%:R^-1) ^+ 2
      + (x - 3%:R^-1 + (y - 3%:R^-1)) ^+ 2).
    by rewrite /two_regulators /=; field.
  by rewrite ler_addl !addr_ge0 ?sqr_ge0.
- case=> _ /(_ (2%:R^-1) I).
  have -> : one_regulator 3%:R^-1 = one_regulator 2%:R^-1 + 2%:R * (6%:R^-1) ^+ 2.
    have n6 : (6%:R : R) != 0 by rewrite pnatr_eq0.
    by rewrite /one_regulator; field.
  by rewrite ger_addl leNgt mulr_gt0 ?ltr0n ?exprn_gt0 ?invr_gt0 ?ltr0n.
Qed.

End LeakedSupport.

(* The two forms part: one target, one regulator, two cells, x = y = (1, -1),
   both of standard deviation 1, so that either form's units are the same. With
   noise variance 1 and lambda = 2 the lasso has its one minimiser at 0, where
   no released ridge has one, whatever its strength. *)
Section SketchAndRelease.
Variable R : realFieldType.

Definition two_cells : 'M[R]_(2, 1) := \matrix_(i, j) (-1) ^+ i.
Definition one_edge (_ : 'I_1) : {set 'I_1} := setT.
Definition sketched_part : parameters R 1 1 -> R := lasso_frame two_cells two_cells (fun=> 1) 2%:R.
Definition released_part (alpha : R) : parameters R 1 1 -> R :=
  ridge_frame two_cells two_cells alpha (fun=> const_mx 1).

Lemma sketched_partE c B : sketched_part (c, B) =
  1 + (c 0 0 ^+ 2 + B 0 0 ^+ 2 + 2%:R * (`|B 0 0| - B 0 0)).
Proof.
have n2 : (2%:R : R) != 0 by rewrite pnatr_eq0.
rewrite /sketched_part /lasso_frame !big_ord1 !big_ord_recl big_ord0 !mxE !big_ord1 !mxE /=.
by rewrite expr0 expr1; move: (c 0 0) (B 0 0) => x y; move: `|y| => a; field.
Qed.

Lemma released_partE alpha c B : released_part alpha (c, B) =
  2%:R * (1 - B 0 0) ^+ 2 + 2%:R * c 0 0 ^+ 2 + alpha * B 0 0 ^+ 2.
Proof.
rewrite /released_part /ridge_frame /L_data /norm2 !big_ord1 !big_ord_recl big_ord0 /=.
rewrite !mxE !big_ord1 !mxE /= expr0 expr1.
by move: (c 0 0) (B 0 0) => x y; ring.
Qed.

Theorem sketch_and_release_part :
  (forall u, argmin (in_support one_edge) sketched_part u <-> u = (0, 0)) /\
  forall alpha, 0 < alpha -> ~ argmin (in_support one_edge) (released_part alpha) (0, 0).
Proof.
have every (u : parameters R 1 1) : in_support one_edge u by move=> j k; rewrite in_setT.
split=> [[c B]|alpha a0 [_ h]].
- have gap (x y : R) : 0 <= x ^+ 2 + y ^+ 2 + 2%:R * (`|y| - y).
    by rewrite !addr_ge0 ?sqr_ge0 // mulr_ge0 ?ler0n // subr_ge0 ler_norm.
  split=> [[_ /(_ (0, 0) (every _))]|[-> ->]]; last first.
    split=> // -[c' B'] _; rewrite !sketched_partE !mxE normr0 subrr expr0n /= mulr0 !addr0.
    by rewrite ler_addl.
  rewrite !sketched_partE !mxE normr0 subrr expr0n /= mulr0 !addr0 ger_addl => l.
  have /eqP : c 0 0 ^+ 2 + B 0 0 ^+ 2 + 2%:R * (`|B 0 0| - B 0 0) = 0.
    by apply/le_anti; rewrite l gap.
  rewrite !paddr_eq0 ?addr_ge0 ?sqr_ge0 ?mulr_ge0 ?ler0n ?subr_ge0 ?ler_norm //.
  rewrite !sqrf_eq0 => /andP[/andP[/eqP c0 /eqP B0] _].
  by congr (_, _); apply/matrixP => i j; rewrite !ord1 mxE.
- have p : 0 < 2%:R + alpha by rewrite ltr_paddl ?ler0n.
  have n : 2%:R + alpha != 0 by rewrite gt_eqF.
  have := h (0, const_mx (2%:R / (2%:R + alpha))) (every _); rewrite !released_partE !mxE.
  have -> : 2%:R * (1 - 0) ^+ 2 + 2%:R * 0 ^+ 2 + alpha * 0 ^+ 2 =
    2%:R * (1 - 2%:R / (2%:R + alpha)) ^+ 2 + 2%:R * 0 ^+ 2
    + alpha * (2%:R / (2%:R + alpha)) ^+ 2 + 4%:R / (2%:R + alpha) by field.
  by rewrite ger_addl leNgt divr_gt0 ?ltr0n.
Qed.

End SketchAndRelease.
